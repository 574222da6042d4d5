package container

import (
	"slices"
	"strings"
)

// asked is a container something is waited for that starts: the good answer to a
// probe, or with none its end.
type asked struct {
	box   *box
	probe *prober
}

// comes notes an instance that is brought up; the caller calls what it returns
// when it is up or given up.
func (e *Engine) comes(i *instance) (over func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.coming = append(e.coming, i)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.coming = slices.DeleteFunc(e.coming, func(x *instance) bool { return x == i })
	}
}

// Waits implements engine.Waiting.
func (e *Engine) Waits(tenant, revision string) string {
	e.mu.Lock()
	n := slices.IndexFunc(e.coming, func(i *instance) bool { return i.spec.Tenant == tenant && i.spec.Revision == revision })
	var i *instance
	if n >= 0 {
		i = e.coming[n]
	}
	e.mu.Unlock()
	if i == nil {
		return ""
	}
	return i.waits()
}

// asks notes that the instance waits for b; the caller calls what it returns when
// it does not any more.
func (i *instance) asks(b *box, p *prober) (over func()) {
	a := asked{b, p}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, a)
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.asked = slices.DeleteFunc(i.asked, func(x asked) bool { return x == a })
	}
}

// waits says what the instance waits for: of several containers the one that
// serves, if that is one of them.
func (i *instance) waits() string {
	i.mu.Lock()
	var a asked
	for _, x := range i.asked {
		if a.box == nil || x.box.spec == &i.spec.Pod.Containers[i.spec.Pod.Serving] {
			a = x
		}
	}
	i.mu.Unlock()
	switch {
	case a.box == nil:
		return ""
	case a.probe == nil:
		return "the end of init container " + a.box.spec.Name
	}
	text := a.probe.what()
	if last := a.probe.last.Load(); last != nil && strings.HasPrefix(*last, text) {
		text, _, _ = strings.Cut(*last, "\n")
	}
	if port := a.probe.port(); port != 0 {
		if listens, known := i.listening(); known && !slices.Contains(listens, port) {
			text = a.probe.what() + "; it listens on " + ports(listens)
		}
	}
	if i.named() {
		text += " (container " + a.box.spec.Name + ")"
	}
	return text
}
