package wsprobe

import (
	"bufio"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// accepted says which of our causes are right for a cause of the recordings.
func accepted(cause string) []string {
	return map[string][]string{
		"no_ws_library":                          {CauseNoLibrary},
		"auth_rejected_before_accept":            {CauseCredentials},
		"auth_rejected_after_accept":             {CauseCredentials},
		"auth":                                   {CauseCredentials},
		"app_close_1008":                         {CauseCredentials, CauseAppClose},
		"route_missing":                          {CauseRouteMissing},
		"stale_deploy_route_missing":             {CauseStaleDeploy},
		"stale_deploy_and_no_ws_library":         {CauseNoLibrary},
		"proxy_strips_upgrade":                   {CauseStripped},
		"proxy_location_missing":                 {CauseProxyRoute},
		"server_without_ws":                      {CauseNoWebSockets},
		"plain_http_handler":                     {CausePlainHandler},
		"catch_all":                              {CauseCatchAll},
		"trailing_slash":                         {CauseSlash},
		"origin_policy":                          {CauseOrigin},
		"edge_rule":                              {CauseEdgeRule},
		"waf":                                    {CauseEdgeRule},
		"redirect":                               {CauseRedirect},
		"method":                                 {CauseMethod},
		"version":                                {CauseVersion},
		"wants_tls":                              {CauseWantsTLS},
		"ws_vs_wss":                              {CauseScheme},
		"unknown":                                {CauseUnclear},
		"app_exception_before_accept":            {CauseAppException},
		"app_exception":                          {CauseAppException},
		"app":                                    {CauseAppLogic},
		"app_silent":                             {CauseAppSilent},
		"slow_or_hung_handler":                   {CauseHungHandler},
		"slow_handler":                           {CauseHungHandler},
		"upstream_hung":                          {CauseHungHandler, CauseHungProcess},
		"upstream_down":                          {CauseOriginDown},
		"h2c_to_http1_backend":                   {CauseH2Backend},
		"maintenance_or_overload":                {CauseOverload},
		"connection_limit":                       {CauseConnLimit},
		"rate_limit":                             {CauseRateLimit},
		"mixed_versions":                         {CauseMixedVersions},
		"socketio_params":                        {CauseSocketIO},
		"socketio_wrong_eio":                     {CauseSocketIO},
		"socketio_no_sticky_session":             {CauseSocketIOSid},
		"client_sent_event_before_namespace_ack": {CauseSocketIOTalk},
		"client_did_not_answer_engineio_ping":    {CauseSocketIOTalk},
		"subprotocol_not_supported":              {CauseSubprotocol},
		"subprotocol_missing":                    {CauseSubprotocol},
		"broken_proxy_or_server":                 {CauseHandshake},
		"server_violates":                        {CauseHandshake},
		"server_close_frame":                     {CauseAppClose, CauseRestart, CauseOverload, CauseAppException},
		"peer_violates_rfc6455":                  {CauseViolation},
		"peer":                                   {CauseViolation},
		"peer_or_proxy":                          {CauseHungProcess, CauseViolation},
		"peer_dies":                              {CauseProcessDied},
		"server_closes_later":                    {CauseProcessDied},
		"worker_killed_event_loop_blocked":       {CauseProcessDied},
		"proxy_idle_timeout":                     {CauseIdleCut},
		"server_limit":                           {CauseMessageLimit},
		"server_closes":                          {CausePeerCloses},
		"server_resets":                          {CausePeerCloses},
		"wrong_service":                          {CauseWrongService},
		"not_http_service":                       {CauseWrongService},
		"dns":                                    {CauseDNS},
		"nobody_listens":                         {CauseNotListening},
		"filtered_or_full_backlog":               {CauseFiltered},
		"ipv4_refused":                           {CauseOneFamily},
		"ipv6_refused":                           {CauseOneFamily},
		"certificate":                            {CauseCertExpired, CauseCertName, CauseCertUntrusted},
		"self_signed":                            {CauseCertUntrusted},
		"mtls":                                   {CauseClientCert},
		"h2_only":                                {CauseH2Only},
		"client_offered_h2":                      {CauseH2Only},
	}[cause]
}

// asSeen makes of a recorded answer what our own request would have made of it.
func (r raw) asSeen(path string) Seen {
	s := Seen{
		Path: path, Stage: probe.Stage(r.Stage), Status: r.Status, Body: r.Body, Reason: r.Err + r.End,
		Took: time.Duration(r.TookMS) * time.Millisecond,
	}
	if r.Status != 0 {
		if resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(r.Head)), nil); err == nil {
			s.Header = resp.Header
			_ = resp.Body.Close()
		}
	}
	for _, f := range r.Frames {
		s.Code = f.Code
		s.Texts = append(s.Texts, f.Text)
		if f.Raw == "4854" {
			s.Detail = DetailHTTPInStream
		}
	}
	return s
}

func (c *recording) seen(t *testing.T) (Seen, Siblings) {
	t.Helper()
	u, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	first := c.Run.asSeen(u.RequestURI())
	first.Class, first.Secure, first.Offered = c.Expect, u.Scheme == "wss", c.Sub
	if c.Expect == probe.Flapping {
		first.Class = classStatus(first.Status)
	}
	first.Credential = u.RawQuery != "" && strings.Contains(u.RawQuery, "token")
	for _, h := range c.Headers {
		first.Credential = first.Credential || strings.HasPrefix(h, "Authorization")
		first.Origin = first.Origin || strings.HasPrefix(h, "Origin")
	}
	var sib Siblings
	for _, status := range c.Statuses {
		if c.Statuses[0] == first.Status {
			sib.Again = append(sib.Again, Seen{Status: status, Class: classStatus(status)})
		}
	}
	for name, r := range c.Siblings {
		path := u.RequestURI()
		var at **Seen
		switch name {
		case "get":
			at = &sib.Get
		case "get_random":
			at, path = &sib.GetRandom, "/zz-no-such-path-7f3a"
		case "up_random":
			at, path = &sib.UpRandom, "/zz-no-such-path-7f3a"
		case "up_v99":
			at = &sib.Version
		case "health":
			at, path = &sib.Health, "/health"
		case "up_slash":
			at, path = &sib.Slash, u.Path+"/"
		case "up_origin":
			at = &sib.WithOrigin
		case "alpn_h2": // asked by the first probe itself
			continue
		default:
			t.Fatalf("no place for sibling %q", name)
		}
		s := r.asSeen(path)
		*at = &s
	}
	return first, sib
}

// TestDiagnoseRecordings wants the true cause of every recorded failure among
// our causes, and mostly as the first of them.
func TestDiagnoseRecordings(t *testing.T) {
	failing, among, leading := 0, 0, 0
	for _, c := range recordings(t) {
		first, sib := c.seen(t)
		causes := Diagnose(first, sib)
		if c.Expect == probe.OK {
			if len(causes) > 0 {
				t.Errorf("%s: %d causes for what is no failure", c.ID, len(causes))
			}
			continue
		}
		failing++
		right := accepted(c.Cause)
		if right == nil {
			t.Fatalf("%s: no mapping for cause %q", c.ID, c.Cause)
		}
		var names []string
		for _, cause := range causes {
			names = append(names, cause.Name)
			if cause.Text == "" || cause.Next == "" || cause.Fix == "" {
				t.Errorf("%s: cause %s has no text", c.ID, cause.Name)
			}
		}
		at := slices.IndexFunc(names, func(n string) bool { return slices.Contains(right, n) })
		switch {
		case at < 0:
			t.Logf("%-22s %-18s not found: cause %s, got %v", c.ID, c.Expect, c.Cause, names)
		case at > 0:
			among++
			t.Logf("%-22s %-18s at %d: cause %s, got %v", c.ID, c.Expect, at+1, c.Cause, names)
		default:
			among++
			leading++
		}
	}
	t.Logf("%d failures: true cause among ours in %d (%.1f %%), first in %d (%.1f %%)", failing,
		among, 100*float64(among)/float64(failing), leading, 100*float64(leading)/float64(failing))
	if among*100 < failing*97 || leading*100 < failing*60 {
		t.Error("want it among ours in 97 % and first in 60 %")
	}
}
