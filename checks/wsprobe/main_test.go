package wsprobe

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also plays the target of the benchmark, in a process of its own: the
// processor time of the server must not count.
func TestMain(m *testing.M) {
	if os.Getenv("WSPROBE_TARGET") != "" {
		target()
		return
	}
	goleak.VerifyTestMain(m)
}

// target accepts WebSockets and answers pings and close frames until its
// standard input ends.
func target() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serveTarget(conn)
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func serveTarget(conn net.Conn) {
	defer conn.Close()
	br := bufio.NewReader(conn)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		acceptKey(req.Header.Get("Sec-WebSocket-Key")))
	answerFrames(conn, br)
}
