package l2

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"
)

// RoundReply is what a heartbeat read of the relay's rounds on one server.
type RoundReply struct {
	Leader int // the bucket that the rounds' key belongs to
	Round  Round
	OK     bool // false: the server did not answer
}

// Rounds reads the relay's last rounds on the tracking connection, as readWatermark does a watermark: those of
// RoundBucket, and of the other servers that these named, as far as they are in a set. A replica refuses to answer. The
// error is that of the first that failed.
func (l *L2) Rounds(ctx context.Context, of BucketSet) (replies []RoundReply, err error) {
	c := l.clients.Load()
	var known BucketSet
	if leaders := l.leaders.Load(); leaders != nil {
		known = *leaders
	}
	known.Add(RoundBucket)
	asked := known.Both(of)
	if c == nil {
		for b := range asked.All() {
			replies = append(replies, RoundReply{Leader: b})
		}
		return replies, ErrUnavailable
	}
	replies, err = l.readRounds(ctx, c, &asked)
	if !of.Has(RoundBucket) || !replies[0].OK {
		return replies, err
	}
	named := replies[0].Round.Elsewhere
	named.Add(RoundBucket)
	if known != named || l.leaders.Load() == nil {
		l.leaders.Store(&named)
	}
	if more := named.Both(of).Minus(known); !more.IsZero() {
		found, e := l.readRounds(ctx, c, &more)
		replies, err = append(replies, found...), firstOf(err, e)
	}
	return replies, err
}

func (l *L2) readRounds(ctx context.Context, c *clients, leaders *BucketSet) (replies []RoundReply, err error) {
	if leaders.IsZero() {
		return nil, nil
	}
	var cmds []rueidis.Completed
	for b := range leaders.All() {
		cmds = append(cmds, c.reading().B().Getex().Key(l.keys.Round(b)).Build())
		replies = append(replies, RoundReply{Leader: b})
	}
	for i, res := range c.reading().DoMulti(ctx, cmds...) {
		r, e := l.round(replies[i].Leader, res)
		replies[i].Round, replies[i].OK, err = r, e == nil, firstOf(err, e)
	}
	return replies, err
}

// Together are those of some buckets whose last commands went to the tracking connection of a bucket's last one. A
// bucket that has gone to another connection since some moment has begun a session since.
func (l *L2) Together(bucket int, of *BucketSet) BucketSet { return l.routes.together(bucket, of) }

// round is the round in a reply. A key of another type counts as none.
func (l *L2) round(bucket int, res rueidis.RedisResult) (Round, error) {
	s, err := res.ToString()
	if wrongType(err) {
		return Round{}, nil
	}
	if err := l.failed(l.Node(bucket), opMarks, err); err != nil {
		return Round{}, err
	}
	return decodeRound(s, l.keys.Buckets()), nil
}

// LastRounds reads the last rounds of servers by their buckets, on the commands connection.
func (l *L2) LastRounds(ctx context.Context, leaders BucketSet) (rounds map[int]Round, err error) {
	c := l.clients.Load()
	if c == nil {
		return nil, ErrUnavailable
	}
	rounds = make(map[int]Round)
	var cmds []rueidis.Completed
	var of []int
	for b := range leaders.All() {
		cmds, of = append(cmds, c.commands.B().Get().Key(l.keys.Round(b)).Build()), append(of, b)
	}
	for i, res := range c.commands.DoMulti(ctx, cmds...) {
		if rounds[of[i]], err = l.round(of[i], res); err != nil {
			return rounds, err
		}
	}
	return rounds, nil
}

// Reached is Watermarks, with what the last rounds say of buckets whose own watermarks were left where they stood. A
// bucket without a watermark has none here either.
func (l *L2) Reached(ctx context.Context) (ws []Watermark, err error) {
	first, err := l.LastRounds(ctx, SetOf(RoundBucket))
	if err != nil {
		return ws, err
	}
	rounds, err := l.LastRounds(ctx, first[RoundBucket].Elsewhere)
	if err != nil {
		return ws, err
	}
	rounds[RoundBucket] = first[RoundBucket]
	if ws, err = l.Watermarks(ctx); err != nil { // after the rounds: what they cover stays so
		return ws, err
	}
	for _, r := range rounds {
		r.raise(ws)
	}
	return ws, nil
}

// raise moves watermarks to what the round says of their buckets.
func (r *Round) raise(ws []Watermark) {
	var incarnations []Incarnation
	for b := range r.Buckets.All() {
		incarnations = append(incarnations, ws[b].Incarnation)
	}
	if DigestOf(incarnations) != r.Incarnations {
		return
	}
	for b := range r.Buckets.All() {
		if r.Upto.Covers(ws[b].Position) {
			ws[b].Position = r.Upto
		}
	}
}

// OneServer reports whether Redis keeps all buckets on one server, as far as the client knows: it is no Cluster.
func (l *L2) OneServer() bool {
	c := l.clients.Load()
	return c != nil && c.commands.Mode() != rueidis.ClientModeCluster
}

// Servers are the buckets of each server that has any, by the servers' least buckets.
func (l *L2) Servers(ctx context.Context) (servers []BucketSet, err error) {
	c := l.clients.Load()
	switch {
	case c == nil:
		return nil, ErrUnavailable
	case c.commands.Mode() != rueidis.ClientModeCluster:
		return []BucketSet{l.keys.All()}, nil
	}
	ranges, err := l.clusterSlots(ctx, c.commands)
	if err != nil {
		return nil, err
	}
	at := make(map[string]int)
	for b := range l.keys.Buckets() {
		get := c.commands.B().Get().Key(l.keys.Watermark(b)).Build()
		name, ok := serverOf(ranges, int64(get.Slot()))
		if !ok {
			return nil, fmt.Errorf("%w: no server of the Cluster has bucket %d", ErrUnavailable, b)
		}
		i, known := at[name]
		if !known {
			i, at[name] = len(servers), len(servers)
			servers = append(servers, BucketSet{})
		}
		servers[i].Add(b)
	}
	return servers, nil
}

// clusterSlots asks all nodes at once which has which slots, and takes the first answer: one of them may be gone. The
// other questions go on: their connections are needed in any case.
func (l *L2) clusterSlots(ctx context.Context, c rueidis.Client) ([]rueidis.RedisMessage, error) {
	type answer struct {
		ranges []rueidis.RedisMessage
		err    error
	}
	nodes := c.Nodes()
	answers := make(chan answer, len(nodes))
	for _, node := range nodes {
		go func() {
			ranges, err := node.Do(ctx, node.B().ClusterSlots().Build()).ToArray()
			answers <- answer{ranges, err}
		}()
	}
	failed := ErrUnavailable
	for range nodes {
		a := <-answers
		if a.err == nil {
			return a.ranges, nil
		}
		failed = fmt.Errorf("%w: %w", ErrUnavailable, a.err)
	}
	return nil, failed
}

// serverOf is the address of the primary that has a slot, by the answer to CLUSTER SLOTS: of each range the first and
// the last slot, and the servers, the primary first.
func serverOf(ranges []rueidis.RedisMessage, slot int64) (name string, ok bool) {
	for i := range ranges {
		r, err := ranges[i].ToArray()
		if err != nil || len(r) < 3 {
			continue
		}
		first, _ := r[0].AsInt64()
		last, _ := r[1].AsInt64()
		if slot < first || slot > last {
			continue
		}
		primary, err := r[2].ToArray()
		if err != nil || len(primary) < 2 {
			continue
		}
		host, _ := primary[0].ToString()
		port, _ := primary[1].AsInt64()
		return fmt.Sprintf("%s:%d", host, port), true
	}
	return "", false
}
