package eventstest

// runEnds: Run returns when its context ends, also before it follows anything, and calls nothing after that. See
// follower.stop.
func runEnds(t T, h Harness) {
	r := newRelay(t, h)
	early := follow(t, h.Events())
	early.stop()
	f := following(t, h, r.n)
	f.delivers(r.events())
	f.stop()
	r.events()
	late := following(t, h, r.n)
	defer late.stop()
	late.delivers(r.events()) // time enough for the others to call their sinks
	for _, over := range []*follower{early, f} {
		over.stop()
	}
}

func runEndsDelivering(t T, h Harness) {
	r := newRelay(t, h)
	f, free := following(t, h, r.n), following(t, h, r.n)
	defer free.stop()
	release := f.hold()
	defer release()
	free.delivers(r.events())
	f.stop()
}

func runAgain(t T, h Harness) {
	r := newRelay(t, h)
	events := h.Events()
	for range 2 {
		f := follow(t, events)
		f.sessions(r.n, 1)
		f.delivers(r.events())
		f.stop()
	}
}
