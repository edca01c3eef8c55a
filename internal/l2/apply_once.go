package l2

import (
	"context"
	"encoding/binary"
	"strings"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
)

// ApplyOnce is ApplyMany for changes of which other processes hear too. It reads the keys first, in one pipeline for
// each node, and applies only what is not done yet: the first process deletes the older record, and the others find
// nothing to do.
//
// Processes that read at the same moment all find the older record. Each of them then runs the script, and the script
// compares again: the record is deleted once, and pushed once.
//
// What is read may change before it is acted on. That is harmless, because the change was committed before its event
// was delivered: a reader that acquires the lease after this read also loads after the commit, and its fill is new. A
// lease that is there already may belong to an older load, so it is taken away, unless its holder knew of the version
// when it was granted.
//
// A Redis user may lack the right to GETRANGE. Then every process runs the script, which writes only what is not done.
//
// Only versioned changes can be found to be done. It returns the error of each change.
func (l *L2) ApplyOnce(ctx context.Context, changes []Change) []error {
	errs := make([]error, len(changes))
	c := l.clients.Load()
	if c == nil {
		for i := range errs {
			errs[i] = ErrUnavailable
		}
		return errs
	}
	if len(changes) == 0 {
		return nil
	}
	cmds := make([]rueidis.Completed, 0, 2*len(changes))
	for _, ch := range changes {
		l.recent.note(ch) // what another process has done is lost with its server, too
		cmds = append(cmds,
			c.commands.B().Getrange().Key(ch.Key.Record).Start(0).End(versionEnd-1).Build(),
			c.commands.B().Getrange().Key(ch.Key.Lease).Start(0).End(int64(leaseEnd-1)).Build())
	}
	res := c.commands.DoMulti(ctx, cmds...)
	var open []Change
	var at []int
	for i, ch := range changes {
		record, err := l.beginning(ch.Key.Bucket, res[2*i])
		lease, leaseErr := l.beginning(ch.Key.Bucket, res[2*i+1])
		if errs[i] = firstOf(err, leaseErr); errs[i] == nil && !applied(record, lease, ch) {
			open, at = append(open, ch), append(at, i)
		}
	}
	for i, err := range l.tell(ctx, open) {
		errs[at[i]] = err
	}
	return errs
}

const (
	versionEnd = 24                 // where a record's version ends
	leaseEnd   = 1 + len(LeaseID{}) // where a reader's lease ends
	unreadable = "\x00"             // stands for the beginning of a key that is no string, or may not be read
)

// applied reports whether apply has nothing to do, by the beginnings of the record and of the lease; "" is an absent
// key. A record of another incarnation counts as any other: it is a miss for everybody.
func applied(record, lease string, ch Change) bool {
	switch {
	case ch.Version == 0 || !leaseMayStay(lease, ch.Version):
		return false
	case record == "":
		return true
	case len(record) < versionEnd || !strings.HasPrefix(record, "NC\x01"):
		return false
	}
	return binary.BigEndian.Uint64([]byte(record[16:versionEnd])) >= uint64(ch.Version)
}

// leaseMayStay reports whether nothing older than a version is filled under a lease: there is none, or a writer's
// intent, or the lease of a reader that knew of the version.
func leaseMayStay(lease string, v coherence.Version) bool {
	if lease == "" || lease[0] == 'W' {
		return true
	}
	return len(lease) == leaseEnd && lease[0] == 'R' &&
		binary.BigEndian.Uint64([]byte(lease[1+knownOffset:])) >= uint64(v)
}

// beginning is the answer of a GETRANGE.
func (l *L2) beginning(bucket int, res rueidis.RedisResult) (string, error) {
	s, err := res.ToString()
	if e, ok := rueidis.IsRedisErr(err); wrongType(err) || ok && strings.HasPrefix(e.Error(), "NOPERM") {
		return unreadable, nil
	}
	return s, l.failed(l.Node(bucket), opOthers, err)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
