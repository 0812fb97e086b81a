package llm

import "time"

// SetPatience sets how long a claim of another process is waited for.
func (c *Cache) SetPatience(d time.Duration) { c.patience = d }
