package l2

import "testing"

// TestGetBatches_AFullBatchIsFollowedByAnother: nobody waits for more replies than maxGetBatch.
func TestGetBatches_AFullBatchIsFollowedByAnother(t *testing.T) {
	var b getBatches
	first, at := b.join(&getMember{})
	if at != placeLeader {
		t.Fatal("the first read does not lead a batch")
	}
	for range maxGetBatch - 1 {
		if _, at := b.join(&getMember{}); at != placeMember {
			t.Fatalf("a read does not join although the batch has only %d", len(first.members))
		}
	}
	second, at := b.join(&getMember{})
	if at != placeLeader || len(first.members) != maxGetBatch {
		t.Fatalf("the batch has %d members, want %d, and one more read to lead the next", len(first.members), maxGetBatch)
	}
	b.close(first)
	if _, at := b.join(&getMember{}); at != placeMember || len(second.members) != 2 {
		t.Error("the second batch was closed with the first")
	}
	b.close(second)
	if _, at := b.join(&getMember{}); at == placeMember {
		t.Error("a read has joined a batch that was closed")
	}
}

// TestGetBatches_LeadersThatNobodyJoinsSeldomYield: a read that nobody joins must not wait for goroutines that do
// something else.
func TestGetBatches_LeadersThatNobodyJoinsSeldomYield(t *testing.T) {
	var b getBatches
	lead := func(companions int) (yields bool) {
		led, at := b.join(&getMember{})
		switch at {
		case placeMember:
			t.Fatal("the read has joined a batch that was closed")
		case placeLeader:
			for range companions {
				b.join(&getMember{})
			}
			b.close(led)
		}
		return at == placeLeader
	}
	yields := 0
	for i := range 10 * aloneTries {
		if lead(0) {
			yields++
		} else if i < aloneLimit {
			t.Errorf("leader %d does not yield", i)
		}
	}
	if want := aloneLimit + 9; yields != want {
		t.Errorf("%d of %d leaders yielded, want %d", yields, 10*aloneTries, want)
	}
	for !lead(1) {
	}
	for i := range aloneLimit {
		if !lead(1) {
			t.Errorf("leader %d after a joined batch does not yield", i)
		}
	}
}
