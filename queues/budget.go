package queues

import "time"

// pollBudget says how long a shard keeps looking at queues that have nothing
// before it asks for kicks and sleeps. It adapts to what sleeping brought: a
// wake-up that came sooner than the limit would have been caught by polling,
// so the budget grows; a longer sleep means that polling is wasted, so it
// shrinks. It starts at 0.
type pollBudget struct {
	limit   time.Duration // 0: never poll
	current time.Duration
}

// firstBudget is what the budget grows to from 0; beyond, it doubles.
const firstBudget = 4 * time.Microsecond

// slept takes the length of a sleep that work ended.
func (b *pollBudget) slept(d time.Duration) {
	switch {
	case b.limit == 0:
	case d < b.limit:
		b.current = min(max(2*b.current, firstBudget), b.limit)
	default:
		b.current /= 2
		if b.current < firstBudget {
			b.current = 0
		}
	}
}
