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
	n := b.knative.want
	if n > 0 && b.usageDecides() {
		n = max(b.asked(), b.activation)
	}
	n = max(n, l.Min)
	if l.Waiting > 0 && l.Ready+l.Starting+l.Leaving == 0 {
		n = max(n, 1)
	}
	return l.Bounded(n)
}

// active is n, but if there are any not fewer than the activation scale and than
// what usage asks for.
func (b *backend) active(l load, n int) int {
	if n == 0 || b.retired {
		return n
	}
	return max(n, l.Bounded(max(b.activation, b.asked())))
}
