package nearcache

// LimitRetries makes the retries of failed invalidations overflow at n.
func (c *Client) LimitRetries(n int) {
	c.retry.mu.Lock()
	defer c.retry.mu.Unlock()
	c.retry.limit = n
}

// Watched reports whether hits are looked at.
func Watched[K comparable, V any](c *Cache[K, V]) bool { return c.watched.Load() != 0 }
