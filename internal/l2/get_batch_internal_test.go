package l2

import "testing"

// TestGetBatches_AFullBatchIsFollowedByAnother: nobody waits for more replies than maxGetBatch.
func TestGetBatches_AFullBatchIsFollowedByAnother(t *testing.T) {
	var b getBatches
	first, mayYield := b.join(&getMember{})
	if first == nil || !mayYield {
		t.Fatal("the first read does not lead a batch that may be joined")
	}
	for range maxGetBatch - 1 {
		if led, _ := b.join(&getMember{}); led != nil {
			t.Fatalf("a read leads although the batch has only %d", len(first.members))
		}
	}
	second, _ := b.join(&getMember{})
	if second == nil || len(first.members) != maxGetBatch {
		t.Fatalf("the batch has %d members, want %d, and one more read to lead the next", len(first.members), maxGetBatch)
	}
	b.close(first)
	if led, _ := b.join(&getMember{}); led != nil || len(second.members) != 2 {
		t.Error("the second batch was closed with the first")
	}
	b.close(second)
	if led, _ := b.join(&getMember{}); led == nil {
		t.Error("a read has joined a batch that was closed")
	}
}

// TestGetBatches_LeadersThatNobodyJoinsSeldomYield: a read that nobody joins must not wait for goroutines that do
// something else.
func TestGetBatches_LeadersThatNobodyJoinsSeldomYield(t *testing.T) {
	var b getBatches
	lead := func(companions int) (yields bool) {
		led, yields := b.join(&getMember{})
		if led == nil {
			t.Fatal("the read does not lead")
		}
		if yields {
			for range companions {
				b.join(&getMember{})
			}
			b.close(led)
		}
		return yields
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
