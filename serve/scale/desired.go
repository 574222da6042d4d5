package scale

import "github.com/hearth-run/hearth/serve/scale/policy"

type load = policy.Load

func desired(l load) int { return policy.Desired(l) }

// want is how many instances should take calls, those that start included: by
// the queue, or by the averages of Knative's algorithm. What leaves the queue
// when a revision drains is always served.
func (b *backend) want(l load) int {
	if b.knative == nil || b.retired {
		return b.active(l, desired(l))
	}
	n := max(b.knative.want, l.Min)
	if l.Waiting > 0 && l.Ready+l.Starting+l.Leaving == 0 {
		n = max(n, 1)
	}
	return l.Bounded(n)
}

// active is n, but not fewer than the activation scale if there are any.
func (b *backend) active(l load, n int) int {
	if n == 0 || n >= b.activation || b.retired {
		return n
	}
	return max(n, l.Bounded(b.activation))
}
