//go:build unix

package chaos

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// ErrNoHosts is why a run with Config.Hosts could not begin.
var ErrNoHosts = errors.New("hosts need root, for network namespaces, and the programs ip, unshare and nsenter")

// inner is the name of the device by which a host reaches the machine.
const inner = "eth0"

// nowhere is a hardware address that no device has.
const nowhere = "02:00:00:00:00:01"

// hostNetwork is the range for tests between networks (RFC 2544). Each host takes four of its addresses.
var hostNetwork = netip.MustParsePrefix("198.18.0.0/15")

// host is a network namespace. A veth pair joins it to the machine that has the links and the services. The namespace
// ends with the last process in it, and the pair with the namespace; so nothing stays if the controller is killed.
type host struct {
	holder *exec.Cmd // keeps the namespace while no instance runs in it
	stdin  io.Closer // its end is the end of the holder
	device string    // the machine's end of the pair
	near   netip.Addr
	far    netip.Addr // the host's own address; near is the machine's
}

// makeHosts makes a host for each of those named.
func makeHosts(names []string) (map[string]*host, error) {
	hosts := make(map[string]*host)
	for _, name := range names {
		h, err := newHost()
		if err != nil {
			closeHosts(hosts)
			return nil, fmt.Errorf("chaos: %w: %w", ErrNoHosts, err)
		}
		hosts[name] = h
	}
	return hosts, nil
}

func closeHosts(hosts map[string]*host) {
	for _, h := range hosts {
		h.close()
	}
}

func newHost() (*host, error) {
	h := &host{}
	err := h.hold()
	for range 10 { // another run may take the same addresses at the same time
		if err != nil {
			break
		}
		if err = h.join(); !errors.Is(err, errTaken) {
			break
		}
	}
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// hold makes the namespace. The holder answers as soon as it is inside.
func (h *host) hold() error {
	cmd := exec.Command("unshare", "--net", "cat")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := local.StartBound(cmd); err != nil {
		return err
	}
	h.holder, h.stdin = cmd, stdin
	_, err = io.WriteString(stdin, "inside\n")
	if err == nil {
		_, err = bufio.NewReader(stdout).ReadString('\n')
	}
	if err != nil {
		h.close() // which waits until all of the message is there
		return fmt.Errorf("unshare --net: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// errTaken says that addresses are in use.
var errTaken = errors.New("no four addresses of " + hostNetwork.String() + " are free")

// join makes the pair, on addresses that nobody has.
func (h *host) join() error {
	first := hostNetwork.Addr().As4()
	free := uint32(1) << (32 - hostNetwork.Bits())
	subnet := binary.BigEndian.Uint32(first[:]) + rand.Uint32N(free)&^3
	h.near, h.far = address(subnet+1), address(subnet+2)
	if n, err := users(h.near); err != nil || n > 0 {
		return errors.Join(err, errTaken)
	}
	device := fmt.Sprintf("nc%08x", rand.Uint32())
	if err := carryOut(exec.Command("ip", "link", "add", device, "type", "veth", "peer", "name", inner, "netns",
		h.pid())); err != nil {
		return err
	}
	h.device = device
	for _, cmd := range []*exec.Cmd{
		exec.Command("ip", "address", "add", h.near.String()+"/30", "dev", h.device),
		exec.Command("ip", "link", "set", h.device, "up"),
		h.command("ip", "address", "add", h.far.String()+"/30", "dev", inner),
		h.command("ip", "link", "set", inner, "up"),
		h.command("ip", "link", "set", "lo", "up"),
	} {
		if err := carryOut(cmd); err != nil {
			return err
		}
	}
	if n, err := users(h.near); err != nil || n > 1 { // two runs took the same at once
		return errors.Join(err, carryOut(exec.Command("ip", "link", "delete", h.device)), errTaken) // newHost tries again
	}
	return nil
}

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// users counts the devices of the machine whose network has an address.
func users(a netip.Addr) (n int, err error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return 0, err
	}
	for _, of := range all {
		if p, err := netip.ParsePrefix(of.String()); err == nil && p.Contains(a) {
			n++
		}
	}
	return n, nil
}

func (h *host) pid() string { return strconv.Itoa(h.holder.Process.Pid) }

// command is a program on the host. A nil host is the machine. The process keeps its id when it enters.
func (h *host) command(program string, args ...string) *exec.Cmd {
	if h == nil {
		return exec.Command(program, args...)
	}
	return exec.Command("nsenter", append([]string{"--target", h.pid(), "--net", "--", program}, args...)...)
}

// listen is where the links of a member on the host listen.
func (h *host) listen() string {
	if h == nil {
		return loopback
	}
	return net.JoinHostPort(h.near.String(), "0")
}

func carryOut(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// direction is that of packets.
type direction int

const (
	toHost direction = iota
	fromHost
)

// lose loses all packets of a direction. They go to a hardware address that nobody has, so no one answers for them:
// connections neither end nor are refused.
func (h *host) lose(d direction) error {
	return h.neighbour(d, "replace", "lladdr", nowhere, "nud", "permanent")
}

// restore lets packets through again.
func (h *host) restore(d direction) error { return h.neighbour(d, "delete") }

// neighbour changes what one end knows of the other.
func (h *host) neighbour(d direction, change string, how ...string) error {
	if d == toHost {
		return carryOut(exec.Command("ip", append([]string{"neighbour", change, h.far.String(), "dev", h.device}, how...)...))
	}
	return carryOut(h.command("ip", append([]string{"neighbour", change, h.near.String(), "dev", inner}, how...)...))
}

// close ends the host; whatever runs on it must have ended.
func (h *host) close() {
	if h.holder == nil {
		return
	}
	_ = h.stdin.Close()
	_ = h.holder.Wait()
	h.holder = nil
	if h.device != "" {
		// The kernel deletes the pair with the namespace, but later. Which of the two is first does not matter.
		_ = carryOut(exec.Command("ip", "link", "delete", h.device))
	}
}
