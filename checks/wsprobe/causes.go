package wsprobe

// explain is what there is to say about a cause by its name.
func explain(name string) Cause {
	switch name {
	case CauseStripped:
		return Cause{
			Text: "a proxy or load balancer in front drops the Upgrade and Connection headers, so the application sees a plain GET",
			Next: "send the same upgrade past the proxy (tripline probe URL --bypass http://BACKEND:PORT): 101 there means that it is lost in front of the application (headers dropped, or the path routed elsewhere), the same answer means the server itself. uvicorn without a WebSocket library logs \"Unsupported upgrade request\" if the headers came through; its silence proves nothing",
			Fix:  "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\". Apache: upgrade=websocket on ProxyPass (2.4.47 and later)",
		}
	case CauseNoLibrary:
		return Cause{
			Text: "the server has no WebSocket library installed, so it treats the upgrade as a plain GET or refuses it",
			Next: "look for \"No supported WebSocket library detected\" in the server's log; the same answer past the proxy (tripline probe URL --bypass http://BACKEND:PORT) proves that no proxy is to blame",
			Fix:  "install uvicorn[standard] or websockets in the image; start with --ws websockets, so that a missing library fails at boot",
		}
	case CauseNoWebSockets:
		return Cause{
			Text: "the server behind this address cannot do WebSockets: they are off (uvicorn --ws none, --interface wsgi), a WSGI worker, or an HTTP server without an upgrade handler",
			Next: "the command line of the process: --ws, --interface, worker class; the code: an upgrade listener",
			Fix:  "take the option away; gunicorn with an ASGI application: -k uvicorn_worker.UvicornWorker (before: uvicorn.workers.UvicornWorker); node: attach a WebSocket server to the http server's upgrade event",
		}
	case CauseRouteMissing:
		return Cause{
			Text: "the application has no WebSocket route at this path: wrong path or prefix, or a revision without it",
			Next: "probe a path that is known to work on this host: 101 there means that this path is wrong; list the routes of the running revision",
			Fix:  "correct the path or mount the WebSocket router",
		}
	case CauseProxyRoute:
		return Cause{
			Text: "the proxy itself answered: it has no route for this path or host to the application",
			Next: "compare the proxy's access log with the application's: the request is only in the first",
			Fix:  "add the path to the ingress or location; check Host and SNI",
		}
	case CauseStaleDeploy:
		return Cause{
			Text: "an old revision, without this route, is serving",
			Next: "compare the version that the health path reports with the one that should be deployed",
			Fix:  "finish or repeat the deployment; send all traffic to the new revision",
		}
	case CauseMixedVersions:
		return Cause{
			Text: "several revisions or backends serve at once and not all of them accept this upgrade",
			Next: "repeat the upgrade with the health path's version beside it: the failures belong to one version",
			Fix:  "finish or roll back the deployment; take the bad backend out",
		}
	case CauseNewVersion:
		return Cause{
			Text: "it fails since another version was deployed",
			Next: "compare the two versions: routes, libraries in the image, settings, secrets",
			Fix:  "roll back, then correct the new version",
		}
	case CauseCredentials:
		return Cause{
			Text: "the credential is missing, expired or not accepted",
			Next: "try a credential that is known to be good: a WebSocket that opens and stays open proves it, the same answer speaks against it",
			Fix:  "renew the token; check whether it belongs in a header or in the query",
		}
	case CauseOrigin:
		return Cause{
			Text: "the server accepts only certain Origins",
			Next: "send the Origin that the browser sends",
			Fix:  "set origin on the check, or add the Origin to the server's allow-list",
		}
	case CauseEdgeRule:
		return Cause{
			Text: "a rule at the edge (WAF, ACL, bot protection) refuses the upgrade before the application sees it",
			Next: "the edge's log names the rule; the application's log shows nothing",
			Fix:  "exempt this path, or requests with Upgrade: websocket, from the rule",
		}
	case CauseSlash:
		return Cause{
			Text: "the path differs from the route by its trailing slash",
			Next: "use the path that was accepted",
			Fix:  "correct the URL: frameworks redirect plain requests for this, never upgrades",
		}
	case CauseCatchAll:
		return Cause{
			Text: "a catch-all route (single-page application, default handler) answers everything, this path too",
			Next: "the proxy's configuration (nginx -T): does what takes this path pass it to the application (proxy_pass), or serve files (try_files)? Nothing in the application's log means the latter",
			Fix:  "route the WebSocket path to the application before the fallback (nginx: a location of its own with proxy_pass and the Upgrade and Connection headers)",
		}
	case CausePlainHandler:
		return Cause{
			Text: "a plain HTTP handler answers this path, and it was not told of the upgrade",
			Next: "check whether the path is meant to be a WebSocket; if so see the other causes",
			Fix:  "use the WebSocket's path",
		}
	case CauseRedirect:
		return Cause{
			Text: "the server redirects: to https, to a login, or to another path",
			Next: "look at Location; WebSocket clients do not follow redirects",
			Fix:  "use the target as the URL",
		}
	case CauseMethod:
		return Cause{
			Text: "the server does not take this request for a GET upgrade: the path wants another method, or something on the way rewrites the request",
			Next: "look at the request in the server's log",
			Fix:  "use the WebSocket's path; stop the rewriting",
		}
	case CauseVersion:
		return Cause{
			Text: "the server does not speak version 13 of the protocol, or the version header was lost on the way",
			Next: "look at Sec-WebSocket-Version in its answer",
			Fix:  "update the server; let the proxy pass Sec-WebSocket-Version",
		}
	case CauseWantsTLS:
		return Cause{Text: "the server wants TLS before anything else", Next: "try wss://", Fix: "use wss://"}
	case CauseScheme:
		return Cause{
			Text: "TLS is spoken to a plain port, or the reverse",
			Next: "try the other scheme",
			Fix:  "swap ws:// and wss://, or correct the port",
		}
	}
	return explainMore(name)
}

func explainMore(name string) Cause {
	switch name {
	case CauseSocketIO:
		return Cause{
			Text: "this is a socket.io server and the URL lacks its parameters, or has the wrong version",
			Next: "try /socket.io/?EIO=4&transport=websocket",
			Fix:  "use ?EIO=4&transport=websocket, or set allowEIO3 on the server for old clients",
		}
	case CauseSocketIOSid:
		return Cause{
			Text: "the socket.io session id is unknown to the server that was asked: no sticky sessions, or it expired",
			Next: "several servers behind one address: ask one directly",
			Fix:  "turn on session affinity, or use the websocket transport only",
		}
	case CauseSocketIOTalk:
		return Cause{
			Text: "the socket.io server closed because our messages break its protocol: an event before the namespace was acknowledged, or its pings unanswered",
			Next: "wait for 40{...} before events; answer 2 with 3",
			Fix:  "put the steps in order on the check",
		}
	case CauseSubprotocol:
		return Cause{
			Text: "server and client do not agree on a subprotocol",
			Next: "compare the subprotocols of the check with those of the server",
			Fix:  "offer the one that the server speaks (mqtt, graphql-transport-ws, ...)",
		}
	case CauseAppException:
		return Cause{
			Text: "the application raised an exception, or the worker that handled this died",
			Next: "the application's log at this time: a stack trace, or the exit of a worker (memory, timeout); nginx logs \"upstream prematurely closed connection\" for the latter",
			Fix:  "roll back, or fix the bug",
		}
	case CauseAppLogic:
		return Cause{
			Text: "the application answers, but not what is expected of it",
			Next: "compare the message in the evidence with the application's log",
			Fix:  "fix the application, or the expectation of the check",
		}
	case CauseAppSilent:
		return Cause{
			Text: "the WebSocket is open and the application does not answer",
			Next: "the application's log at this time: did the message arrive, and what became of it?",
			Fix:  "fix the handler, or what the check sends and expects",
		}
	case CauseAppClose:
		return Cause{
			Text: "the application closed the WebSocket by itself",
			Next: "look up the close code and reason in the application",
			Fix:  "see the reason that it gave",
		}
	case CauseRestart:
		return Cause{
			Text: "the server is restarting or being deployed",
			Next: "probe again in a minute",
			Fix:  "let clients reconnect; drain before stopping",
		}
	case CauseHungHandler:
		return Cause{
			Text: "the request reached a handler that does not answer in time, or that nobody handles",
			Next: "a stack dump of the process; an upgrade on another path that is answered at once shows that the process lives",
			Fix:  "add the missing else branch or timeout; move blocking calls off the event loop",
		}
	case CauseHungProcess:
		return Cause{
			Text: "the process does not answer anything: stopped, deadlocked or starved",
			Next: "a stack dump shows where it hangs (py-spy dump, jstack; SIGQUIT ends a Go process with one); top, whether it is starved",
			Fix:  "restart it, after the dump",
		}
	case CauseOriginDown:
		return Cause{
			Text: "the proxy cannot reach the application: down, crashed, or still starting",
			Next: "the proxy's error log (grep -i): \"connection refused\" is a stopped application or a wrong port, \"could not be resolved\" a name, \"no route to host\" the network; \"no live upstreams\" follows earlier errors",
			Fix:  "start the application; correct the upstream's address (nginx keeps the old one of a container until a reload)",
		}
	case CauseH2Backend:
		return Cause{
			Text: "the proxy speaks HTTP/2 to an application that speaks HTTP/1.1 (Cloud Run, Envoy)",
			Next: "every path gives 502 although the application runs, and its access log shows nothing",
			Fix:  "turn \"HTTP/2 end-to-end\" (h2c) to the backend off",
		}
	case CauseOverload:
		return Cause{
			Text: "the service is overloaded or in maintenance",
			Next: "Retry-After, if any, says until when",
			Fix:  "add capacity, or wait",
		}
	case CauseConnLimit:
		return Cause{
			Text: "a limit on connections is reached: too many open WebSockets, or a leak of them",
			Next: "count the open connections at the proxy and the application over time",
			Fix:  "find who does not close; raise the limit",
		}
	case CauseRateLimit:
		return Cause{
			Text: "too many requests from this address in a short time",
			Next: "other clients behind the same address count too",
			Fix:  "probe less often, or exempt the monitor",
		}
	}
	return explainRest(name)
}

func explainRest(name string) Cause {
	switch name {
	case CausePeerCloses:
		return Cause{
			Text: "the server ended the connection instead of answering: its handler destroys it, nobody owns this path, or it crashed",
			Next: "another path that is answered shows that the server lives; its log may show the reason",
			Fix:  "handle the path, or answer it with a status",
		}
	case CauseWrongService:
		return Cause{
			Text: "another service listens on this port, not HTTP",
			Next: "look at what listens there",
			Fix:  "correct the port",
		}
	case CauseHandshake:
		return Cause{
			Text: "the 101 is wrong: a hand-made server, or a proxy that answers from a cache or rewrites headers",
			Next: "probe the backend past the proxy (--bypass)",
			Fix:  "never cache upgrades; let the proxy pass the handshake's headers",
		}
	case CauseViolation:
		return Cause{
			Text: "bytes came that the WebSocket protocol forbids: a broken server, or a proxy that writes into the stream",
			Next: "the frame header in the evidence; probe the backend past the proxy (--bypass)",
			Fix:  "update the server's WebSocket library; keep the proxy out of upgraded connections",
		}
	case CausePingsIgnored:
		return Cause{
			Text: "nobody answers pings (RFC 6455 §5.5.2 wants it): the handler does not read, and many libraries answer only while it does; it blocks its event loop or worker; or a proxy passes the 101 and nothing after it",
			Next: "does a message get an answer (tripline probe URL --send TEXT --expect JQ)? Is it the same past the proxy (--bypass)? A stack dump shows a handler that blocks",
			Fix:  "keep a read pending in the handler; move what blocks it elsewhere",
		}
	case CauseProcessDied:
		return Cause{
			Text: "the process behind the WebSocket died or was stopped: crash, kill, out of memory, a deploy, a worker timeout",
			Next: "restarts and exit codes at this time; a bare end of the connection has no code, so only the logs tell",
			Fix:  "see why it died; drain before stopping",
		}
	case CauseIdleCut:
		return Cause{
			Text: "a proxy cuts idle connections",
			Next: "the cut comes after the same time again, and pings prevent it",
			Fix:  "ping more often than half that time, or raise the proxy's idle timeout",
		}
	case CauseMessageLimit:
		return Cause{
			Text: "a message is over a size limit",
			Next: "the reason says whose limit it is",
			Fix:  "send less, or raise the limit (max_message on the check, max_size or maxPayload on the server)",
		}
	case CauseH2Only:
		return Cause{
			Text: "the TLS server speaks HTTP/2 only, and this upgrade needs HTTP/1.1",
			Next: "it chooses h2 when offered both",
			Fix:  "enable http/1.1 in the server's ALPN list",
		}
	case CauseCertExpired:
		return Cause{
			Text: "the server's certificate is outside its validity: it was not renewed, or the new one was not loaded",
			Next: "compare with the certificate on the server's disk; is this machine's clock right?",
			Fix:  "renew it and reload the server",
		}
	case CauseCertName:
		return Cause{
			Text: "the server's certificate is for other names: the wrong host name was asked, another virtual host answered, or the name was never added",
			Next: "probe a name that the certificate has; a default certificate means that the server does not know the name that it was asked for (SNI)",
			Fix:  "correct the host name, or add it to the certificate",
		}
	case CauseCertUntrusted:
		return Cause{
			Text: "the certificate does not lead to a trusted root: self-signed, a private authority, or the intermediate is not sent",
			Next: "openssl s_client -showcerts shows what is sent; browsers hide a missing intermediate",
			Fix:  "serve the whole chain; for a private authority give its root (--ca-file, tls.ca_file)",
		}
	case CauseClientCert:
		return Cause{
			Text: "the server wants a client certificate",
			Next: "ask the owner which authority it accepts",
			Fix:  "set tls.client_cert and tls.client_key on the check",
		}
	case CauseTLS:
		return Cause{
			Text: "client and server do not agree on TLS: version, cipher, name, or it is no TLS server",
			Next: "openssl s_client shows what it offers",
			Fix:  "align the TLS settings",
		}
	case CauseDNS:
		return Cause{
			Text: "the name does not resolve",
			Next: "ask the authoritative servers (dig +trace) and another resolver (--resolver 1.1.1.1:53)",
			Fix:  "restore the record, or the resolver; correct the name",
		}
	case CauseNotListening:
		return Cause{
			Text: "nothing listens on this address and port",
			Next: "on the host: does the process run, and on which address and port does it listen (ss -ltn)?",
			Fix:  "start it; let it listen on an address that is reached from here, not on 127.0.0.1 of another machine or container",
		}
	case CauseFiltered:
		return Cause{
			Text: "connection requests are not answered: a firewall drops them, or the accept queue is full",
			Next: "a probe from another network; the listen queue on the host",
			Fix:  "open the firewall, or see why the process does not accept",
		}
	case CauseOneFamily:
		return Cause{
			Text: "one of IPv4 and IPv6 does not work; clients that try it first are slow or fail",
			Next: "connect to each address",
			Fix:  "listen on both, or withdraw the record",
		}
	}
	return Cause{
		Text: "the answer alone does not tell why",
		Next: "further requests (a plain GET, another path, version 99) and the server's log",
		Fix:  "see the server's log at this time",
	}
}
