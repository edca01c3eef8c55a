package kafka

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/internal/tailing"
)

// deadLetterPatience is how long a copy for the dead-letter topic is tried to be sent. After that the messages behind
// it count for more: what it is a copy of says nothing that could be applied.
const deadLetterPatience = 10 * time.Second

func tooLong(n int64) error { return fmt.Errorf("%w: %d bytes", coherence.ErrMalformed, n) }

// deadLetter is a copy of a message with where it came from and why it is here.
func (p *consumer) deadLetter(rec *record, why error) out {
	o := out{index: int(rec.offset), key: rec.key.data, value: rec.value.data}
	o.headers = append(o.headers, rec.headers...)
	add := func(name, value string) {
		o.headers = append(o.headers, kafkago.Header{Key: name, Value: []byte(value)})
	}
	const longest = 1024
	reason := why.Error()
	add("nearcache-reason", reason[:min(len(reason), longest)])
	add("nearcache-topic", p.topic)
	add("nearcache-partition", strconv.Itoa(p.part))
	add("nearcache-offset", strconv.FormatInt(rec.offset, 10))
	if rec.value.cut() {
		add("nearcache-bytes", strconv.FormatInt(rec.value.size, 10))
		add("nearcache-sha256", fmt.Sprintf("%x", rec.value.sum))
	}
	return o
}

// fitted is a copy of a copy in so many bytes: the value is cut, then the key, and the message's own headers go. The
// headers say how long the value was, and have the hash of the whole.
func (o out) fitted(most int) out {
	if o.size() <= most {
		return o
	}
	var ours []kafkago.Header
	cut := false
	for _, h := range o.headers {
		if len(h.Key) > len("nearcache-") && h.Key[:len("nearcache-")] == "nearcache-" {
			ours = append(ours, h)
			cut = cut || h.Key == "nearcache-bytes"
		}
	}
	if !cut {
		ours = append(ours, kafkago.Header{Key: "nearcache-bytes", Value: strconv.AppendInt(nil, int64(len(o.value)),
			10)},
			kafkago.Header{Key: "nearcache-sha256", Value: fmt.Appendf(nil, "%x", sha256.Sum256(o.value))})
	}
	o.headers = ours
	o.key = o.key[:min(len(o.key), most/8)]
	if over := o.size() - most; over > 0 {
		o.value = o.value[:max(0, len(o.value)-over)]
	}
	return o
}

// setAside sends copies to the dead-letter topic. It is false only if ctx ended before.
func (w *workerRun) setAside(ctx context.Context, bad []out) bool {
	if len(bad) == 0 {
		return true
	}
	begun := time.Now()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		left, err := w.sendDead(try, bad)
		cancel()
		if err == nil {
			w.m.deadLetters.WithLabelValues("copied").Add(float64(len(bad) - len(left)))
			w.works("dead_letter")
			w.giveUp(left, kafkago.MessageSizeTooLarge)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		w.m.errors.WithLabelValues("dead_letter").Inc()
		w.reason("dead_letter", err)
		if errors.Is(explain(err), coherence.ErrMisconfigured) || errors.Is(err, kafkago.InvalidTopic) ||
			time.Since(begun) > deadLetterPatience {
			w.giveUp(bad, err)
			return true
		}
		tailing.Pause(ctx, wait)
	}
}

func (w *workerRun) giveUp(bad []out, err error) {
	for _, o := range bad {
		w.m.deadLetters.WithLabelValues("lost").Inc()
		w.log.Error("a malformed message could not be copied to the dead-letter topic", "topic", w.topic, "offset",
			o.index,
			"value", fmt.Sprintf("%.256q", o.value), "error", err)
	}
}

// sendDead sends what fits, and cuts what does not. left are those that the topic does not take even so.
func (w *workerRun) sendDead(ctx context.Context, bad []out) (left []out, err error) {
	w.making.Lock()
	if !w.made {
		err = createTopic(ctx, w.c.client, w.dead.topic, 1, -1)
		w.made = err == nil
	}
	w.making.Unlock()
	if err != nil {
		return nil, err
	}
	const tiny = 4096
	for _, most := range []int{w.dead.most(ctx), tiny} {
		copies := make([]out, len(bad))
		for i, o := range bad {
			copies[i] = o.fitted(most)
			copies[i].index = i
		}
		tooLarge, err := w.dead.send(ctx, 0, copies)
		if err != nil {
			return nil, err
		}
		for _, i := range tooLarge {
			left = append(left, bad[i])
		}
		if len(left) == 0 {
			return nil, nil
		}
		bad, left = left, nil
	}
	return bad, nil
}
