package suite

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// say sends a byte and waits for its echo.
func say(c net.Conn, b byte, wait time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{b}); err != nil {
		return err
	}
	got := []byte{0}
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if got[0] != b {
		return errors.New("got another byte back")
	}
	return nil
}

func TestProxy_LosesDataAndResetsConnections(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	w, err := newProxy(echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	const long, short = 10 * time.Second, 30 * time.Millisecond
	old := dial()
	if err := say(old, 'a', long); err != nil {
		t.Fatal(err)
	}
	w.dropAll()
	for name, c := range map[string]net.Conn{"an open connection": old, "a new connection": dial()} {
		if err := say(c, 'b', short); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("while data is lost, %s: got error %v, want a deadline exceeded", name, err)
		}
	}
	w.restore()
	if err := say(old, 'c', long); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that has lost data: got error %v, want a closed connection", err)
	}
	w.delay.Store(int64(time.Millisecond))
	if err := say(dial(), 'd', long); err != nil {
		t.Errorf("after restore: got error %v, want an answer", err)
	}
}
