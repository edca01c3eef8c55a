package l2

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/rueidis"
)

// Fault is why Redis does not do what it was asked to.
type Fault struct {
	Code    string   // stable; see the table of faults
	Advice  string   // what to do about it, one sentence
	Err     error    // what Redis or the network said
	Forever bool     // waiting does not help
	Writes  bool     // Redis takes no writes
	Doubt   bool     // neither does it take invalidations: nothing that was read there is vouched for
	Demoted bool     // the server is no primary any more: connect again
	Nodes   []string // the addresses of the nodes that it is of, as far as they are known
}

// orOff ends the advice for a server, or a proxy before it, that lacks what tracking alone needs.
const orOff = "; or set Config.Tracking to TrackingOff, which needs neither RESP3, GETEX nor CLIENT TRACKING " +
	"(for a relay: ClientOption.AlwaysRESP2)."

// faults sorts the errors that Redis answers by the word that they begin with. Scripts hand on what a command within
// them was answered, with text around it: the word then comes after a space or a hyphen.
var faults = []struct {
	word string
	Fault
}{
	{"WRONGPASS",
		Fault{Code: "redis_auth", Forever: true,
			Advice: "Redis refuses the user name or the password; correct rueidis.ClientOption."}},
	{"NOAUTH",
		Fault{Code: "redis_auth", Forever: true,
			Advice: "Redis wants a password; set it in rueidis.ClientOption (and in Sentinel.Password)."}},
	{"NOPERM", Fault{Code: "redis_permission", Forever: true, Writes: true,
		Advice: "The Redis user lacks a right; grant " + Rights(Use{}) + " on the prefix's keys, and +info without a " +
			"relay."}},
	{"NOPROTO",
		Fault{Code: "redis_protocol", Forever: true,
			Advice: "The server speaks no RESP3, which tracking needs; use Redis 6.2 or newer, without a RESP2 proxy" + orOff}},
	{"READONLY",
		Fault{Code: "redis_read_only", Writes: true, Doubt: true, Demoted: true,
			Advice: "The server is a replica; the client needs the primary's address."}},
	{"OOM",
		Fault{Code: "redis_out_of_memory", Writes: true,
			Advice: "Redis is full and evicts nothing; raise maxmemory or set an eviction policy."}},
	{"MISCONF",
		Fault{Code: "redis_misconf", Writes: true, Doubt: true,
			Advice: "Redis stopped taking writes because it cannot save; look at its log."}},
	{"NOREPLICAS",
		Fault{Code: "redis_no_replicas", Writes: true, Doubt: true,
			Advice: "Redis has fewer replicas than min-replicas-to-write asks for."}},
	{"MASTERDOWN",
		Fault{Code: "redis_master_down", Writes: true, Doubt: true, Demoted: true,
			Advice: "The server is a replica that lost its primary."}},
	{"LOADING",
		Fault{Code: "redis_loading", Writes: true, Doubt: true,
			Advice: "Redis is loading its data; it answers when that is done."}},
	{"CLUSTERDOWN",
		Fault{Code: "redis_cluster_down", Writes: true, Doubt: true,
			Advice: "The cluster does not cover every slot; look at CLUSTER INFO."}},
	{"TRYAGAIN",
		Fault{Code: "redis_slot_migrating",
			Advice: "A slot is being moved; its keys are served again when that is done."}},
	{"MOVED", Fault{Code: "redis_cluster_hidden", Forever: true, Writes: true,
		Advice: "The server is part of a cluster that the client took for a single server; grant " + ClusterRights + "."}},
}

// noCluster is the fault of a client that was given several addresses of servers that are no Cluster.
var noCluster = Fault{Code: "redis_no_cluster", Forever: true,
	Advice: "Several addresses are those of a Cluster, and the server is none; give the primary's address alone, or set " +
		"ClientOption.Sentinel."}

// sentinelDenied is the fault of a client whose user may not ask the Sentinels.
var sentinelDenied = Fault{Code: "redis_permission", Forever: true, Writes: true,
	Advice: "The user of ClientOption.Sentinel lacks a right on the Sentinels; grant " + SentinelRights + "."}

// unknownCommands are the commands without which nothing works, and what it means if the server does not know one.
var unknownCommands = []struct {
	command string
	Fault
}{
	{"getex",
		Fault{Code: "redis_version", Forever: true,
			Advice: "The server does not know GETEX; use Redis 6.2 or newer" + orOff}},
	{"eval",
		Fault{Code: "redis_scripts", Forever: true, Writes: true,
			Advice: "The server runs no scripts; EVAL and EVALSHA must not be renamed or disabled."}},
	{"client",
		Fault{Code: "redis_tracking", Forever: true,
			Advice: "The server does not know CLIENT TRACKING; use Redis 6.2 or newer, without a proxy that hides it" + orOff}},
	{"hello",
		Fault{Code: "redis_protocol", Forever: true,
			Advice: "The server speaks no RESP3, which tracking needs; use Redis 6.2 or newer, without a RESP2 proxy" + orOff}},
}

// FaultCodes are the codes of all faults.
func FaultCodes() []string {
	codes := []string{"redis_buckets", "redis_error", noCluster.Code, "redis_protocol", "redis_tls", "redis_unreachable"}
	for _, f := range faults {
		codes = append(codes, f.Code)
	}
	for _, f := range unknownCommands {
		codes = append(codes, f.Code)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// FaultOf sorts an error of a command or of a connection. Whatever is not known otherwise is redis_unreachable, or
// redis_error if Redis answered it. The fault of nil, and of an error that says nothing of Redis, is nil.
func FaultOf(err error) *Fault {
	if err == nil || rueidis.IsRedisNil(err) || errors.Is(err, context.Canceled) {
		return nil
	}
	if f := bucketsFault(err); f != nil {
		return f
	}
	said := err.Error()
	_, answered := rueidis.IsRedisErr(err)
	if answered && deniedInScript(said) {
		said = "NOPERM " + said
	}
	if answered && saysWord(said, "NOPERM") && strings.Contains(said, "'sentinel") {
		return sentinelDenied.with(err)
	}
	if answered || errors.Is(err, rueidis.ErrNoCache) {
		for _, f := range faults {
			if saysWord(said, f.word) {
				return f.with(err)
			}
		}
		lower := strings.ToLower(said)
		if strings.Contains(lower, "cluster support disabled") {
			return noCluster.with(err)
		}
		if strings.Contains(lower, "unknown command") || strings.Contains(lower, "unknown subcommand") ||
			strings.Contains(lower, "unknown redis command") {
			for _, f := range unknownCommands {
				if strings.Contains(lower, f.command) {
					return f.with(err)
				}
			}
		}
		if strings.Contains(lower, "unknown redis command") { // of a script; Redis does not name the command
			return Fault{Code: "redis_scripts", Forever: true, Writes: true,
				Advice: "The server does not know a command that the scripts call; GET, GETEX, SET, DEL, EXISTS, PTTL, PEXPIRE " +
					"and INFO must not be renamed or disabled."}.with(err)
		}
		if answered {
			return Fault{Code: "redis_error", Advice: "Redis answers with an error."}.with(err)
		}
		// The library's own word for a server that answered HELLO 3 with an older protocol.
		return Fault{Code: "redis_protocol", Forever: true,
			Advice: "The server offers no tracking by RESP3; use Redis 6.2 or newer, without a RESP2 proxy" + orOff}.with(err)
	}
	if badCertificate(err) {
		return Fault{Code: "redis_tls", Forever: true,
			Advice: "The TLS handshake cannot succeed; correct rueidis.ClientOption.TLSConfig."}.with(err)
	}
	f := Fault{Code: "redis_unreachable", Writes: true, Advice: "Redis does not answer."}
	switch {
	case errors.Is(err, errHandshake):
		f.Advice = "The server does not answer a TLS handshake, as on a port without TLS; correct the address, or " +
			"rueidis.ClientOption.TLSConfig."
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
		f.Advice = "Redis closes the connection. A port for TLS does that to a client without ClientOption.TLSConfig. A " +
			"proxy that does not know HELLO does it to every client: if there is one, set Config.Tracking to TrackingOff and " +
			"ClientOption.ForceSingleClient."
	}
	return f.with(err)
}

func (f Fault) with(err error) *Fault {
	f.Err = err
	return &f
}

// saysWord reports whether an error has the word at its beginning, or after a space or a hyphen.
func saysWord(said, word string) bool {
	for rest, from := said, 0; ; {
		i := strings.Index(rest, word)
		if i < 0 {
			return false
		}
		at := from + i
		end := at + len(word)
		begins := at == 0 || said[at-1] == ' ' || said[at-1] == '-'
		if begins && (end == len(said) || said[end] == ' ' || said[end] == ':') {
			return true
		}
		from, rest = end, said[end:]
	}
}

// deniedInScript reports whether Redis refused a command within a script for want of a right. It says so without
// NOPERM.
func deniedInScript(said string) bool {
	return strings.Contains(said, "ACL failure in script") || strings.Contains(said, "The user executing the script can't")
}

// badCertificate reports whether one side refuses the other in a TLS handshake.
func badCertificate(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var refused *net.OpError // by the server: crypto/tls says so by the operation
	if errors.As(err, &refused) && refused.Op == "remote error" {
		return true
	}
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) ||
		errors.As(err, &verification) || errors.As(err, &record)
}

// faultAge is how long a fault counts after it was last seen, unless the operation that had it succeeds before. An
// operation that nobody asks for any more would otherwise be at fault for ever.
const faultAge = time.Minute

// health is how an operation ended last. At each node each script, the reads of records and those of watermarks have
// their own, since a full Redis goes on reading, and deletes, while it refuses a fill.
type health struct {
	last atomic.Pointer[seenFault]
}

type seenFault struct {
	*Fault
	at time.Time
}

// note records how the operation ended. It returns its fault, and whether it had not the same one before. An error that
// says nothing of Redis changes nothing.
func (h *health) note(err error, counts *faultCounts) (f *Fault, begun bool) {
	if err == nil || rueidis.IsRedisNil(err) {
		if h.last.Load() != nil {
			h.last.Store(nil)
		}
		return nil, false
	}
	if f = FaultOf(err); f == nil {
		return nil, false
	}
	counts.add(f.Code)
	was := h.last.Swap(&seenFault{f, time.Now()})
	return f, was == nil || was.Code != f.Code
}

// fault is the operation's fault if it is in force.
func (h *health) fault() *Fault {
	s := h.last.Load()
	if s == nil || time.Since(s.at) > faultAge {
		return nil
	}
	return s.Fault
}

// writes reports whether the node answers, and takes writes, as far as its last commands tell.
func (n *Node) writes() bool {
	if n.silent.Load() {
		return false
	}
	for op := range n.health {
		if f := n.health[op].fault(); f != nil && f.Writes {
			return false
		}
	}
	return true
}

// Faults returns what is wrong with Redis now, one fault of each code, with the nodes that have it. The result is empty
// while all is well. A node that has no bucket any more does not count.
func (l *L2) Faults() []*Fault {
	var out []*Fault
	add := func(h *health, node string) {
		f := h.fault()
		if f == nil {
			return
		}
		i := slices.IndexFunc(out, func(o *Fault) bool { return o.Code == f.Code })
		if i < 0 {
			i, out = len(out), append(out, f.with(f.Err))
		}
		if node != "" && !slices.Contains(out[i].Nodes, node) {
			out[i].Nodes = append(out[i].Nodes, node)
		}
	}
	add(&l.connecting, "")
	for _, n := range l.inUse() {
		for op := range n.health {
			add(&n.health[op], n.addr)
		}
	}
	return out
}

// inUse are the nodes that have buckets, and what stands for those that are not known.
func (l *L2) inUse() []*Node {
	all := []*Node{l.nodes.none}
	for b := range l.keys.Buckets() {
		if n := l.routes.node(b); n != nil && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}

// anyWrites reports whether a node takes writes. What is not known to be of a node counts as of each.
func (l *L2) anyWrites() bool {
	all := l.inUse()
	return all[0].writes() && (len(all) == 1 || slices.ContainsFunc(all[1:], (*Node).writes))
}
