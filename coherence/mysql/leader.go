package mysql

import (
	"context"
	"crypto/rand"
	"time"
)

const (
	leaseFor   = 3 * time.Second
	leaseRenew = 500 * time.Millisecond
)

// Lead takes a lease in the database and renews it, both by the server's clock. Leading ends when the lease has passed
// to another, and when it could not be renewed before it ran out by this process's clock; until then two may work,
// which the cursor and the sequence numbers make harmless. A lock of the server's own (GET_LOCK) would stay with a
// leader whose machine is gone until the server gives its connection up, which takes hours by default.
func (s *Source) Lead(ctx context.Context, name string) (leading context.Context, release func(), err error) {
	token := rand.Text()
	var since time.Time
	for {
		since = time.Now()
		got, err := s.take(ctx, name, token)
		if err != nil {
			return nil, nil, s.fault("lead", err)
		}
		if got {
			break
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(leaseRenew):
		}
	}
	leading, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		s.renew(leading, name, token, since)
	}()
	return leading, func() { cancel(); <-done }, nil
}

// take takes the leadership of a name if nobody holds it.
func (s *Source) take(ctx context.Context, name, token string) (bool, error) {
	got, err := s.changed(ctx, `update {db}.leaders set token = ?, holder = user(),
			until = utc_timestamp(6) + interval ? microsecond
		where name = ? and until < utc_timestamp(6)`, token, leaseFor.Microseconds(), name)
	if err != nil || got {
		return got, err
	}
	return s.changed(ctx, `insert ignore into {db}.leaders values (?, ?, user(),
		utc_timestamp(6) + interval ? microsecond)`, name, token, leaseFor.Microseconds())
}

// renew returns when the lease is lost, or given back because leading ended. It never takes a lease: after one that ran
// out another relay may have led and ended, and then this leader has to learn of it. The lease begins at since, before
// the server was asked for it.
func (s *Source) renew(leading context.Context, name, token string, since time.Time) {
	for {
		select {
		case <-leading.Done():
			end, stop := context.WithTimeout(context.WithoutCancel(leading), time.Second)
			defer stop()
			// If this fails the lease runs out.
			_, _ = s.db.ExecContext(end, s.q(`delete from {db}.leaders where name = ? and token = ?`), name, token)
			return
		case <-time.After(leaseRenew):
		}
		asked := time.Now()
		left, stop := context.WithDeadline(leading, since.Add(leaseFor-leaseRenew))
		got, err := s.changed(left, `update {db}.leaders set until = utc_timestamp(6) + interval ? microsecond
			where name = ? and token = ?`, leaseFor.Microseconds(), name, token)
		stop()
		switch {
		case err == nil && !got:
			return
		case err == nil:
			since = asked
		case !time.Now().Before(since.Add(leaseFor - leaseRenew)):
			return
		}
	}
}
