package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
)

// Listener wraps the listener of an http.Server, so that what the server answers by itself, before any handler, is a
// problem too: a path that is not percent-encoded, headers that are too large, a version of HTTP that it does not know.
func Listener(l net.Listener) net.Listener { return problemListener{l} }

type problemListener struct{ net.Listener }

// Accept waits for a connection.
func (l problemListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &problemConn{Conn: c}, nil
}

// problemConn replaces the server's own refusals. net/http writes each of them by one Write, with exactly these
// headers, which no handler here sends, and closes the connection.
type problemConn struct{ net.Conn }

var refusalText = regexp.MustCompile(
	`\AHTTP/1\.1 ([45]\d\d) ([^\r\n]*)\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n`)

// Write writes to the connection.
func (c *problemConn) Write(b []byte) (int, error) {
	if len(b) > 1024 || !bytes.HasPrefix(b, []byte("HTTP/1.1 ")) {
		return c.Conn.Write(b)
	}
	instead := b
	if m := refusalText.FindSubmatch(b); m != nil {
		status, _ := strconv.Atoi(string(m[1]))
		instead = refuse(status, string(m[2]))
	} else if bytes.HasPrefix(b, []byte("HTTP/1.1 417 ")) { // the answer to an Expect; no handler here sends it
		instead = refuse(http.StatusExpectationFailed, "Expectation Failed: 100-continue alone is known")
	}
	if _, err := c.Conn.Write(instead); err != nil {
		return 0, err
	}
	return len(b), nil
}

// refuse is the whole response. What the server says after the status's own words is the detail.
func refuse(status int, reason string) []byte {
	title, detail, _ := bytes.Cut([]byte(reason), []byte(": "))
	if len(detail) == 0 {
		detail = []byte("the request cannot be read: its first line, or a header, is malformed; a path is percent-encoded")
	}
	body, err := json.Marshal(details{Type: "about:blank", Title: string(title), Status: status, Detail: string(detail)})
	if err != nil { // texts and a number always have a JSON form
		panic(err)
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"+
		"Content-Length: %d\r\nConnection: close\r\n\r\n%s\n", status, title, len(body)+1, body)
}

// CloseWrite ends the sending side: the server does so before it closes a connection on which a client is still
// sending.
func (c *problemConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
