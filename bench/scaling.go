package main

import (
	"fmt"
	"sync"
	"time"
)

// sleeper answers after as many milliseconds as it is made with.
const sleeper = "import time\n\ndef main(event):\n    time.sleep(%d / 1000)\n    return 'x'\n"

// scaling is section s: a step of concurrency from nothing, and how many
// instances calls at concurrency 1 lead to.
func (b *bench) scaling() error {
	const step, clients = 50, 20
	const held = 3 * time.Second
	s, err := b.start("scaling")
	if err != nil {
		return err
	}
	defer s.stop()
	all := []function{
		{name: "step", runtime: "python", code: fmt.Sprintf(sleeper, held.Milliseconds()), idle: time.Second, concurrency: 1},
		{name: "steady", runtime: "python", code: fmt.Sprintf(sleeper, 20), idle: time.Second, concurrency: 1},
	}
	if err := s.deploy(all); err != nil {
		return err
	}
	steps := make([]function, step)
	for i := range steps {
		steps[i] = all[0]
	}
	var took []time.Duration
	var most, steady []int
	for round := range b.rounds {
		if _, err := s.quiet(); err != nil {
			return err
		}
		stop := s.watch("step")
		last, _, err := s.callAll(steps, fmt.Sprintf("s%d", round))
		n := stop()
		if err != nil {
			return err
		}
		took, most = append(took, last-held), append(most, n)
		b.detail("step: the last of %d had its instance after %.0f ms; %d instances", step, ms(last-held), n)

		stop = s.watch("steady")
		err = s.again(all[1].name, clients, 5*time.Second)
		n = stop()
		if err != nil {
			return err
		}
		steady = append(steady, n)
		b.detail("steady: %d instances for %d clients", n, clients)
	}
	r := row{what: fmt.Sprintf("0 → %d calls at once, concurrency 1, until the last has its instance", step), hearth: fmt.Sprintf("%.0f ms", ms(median(took)))}
	r.atMost(ms(median(took)), 1000)
	r.target += " ms"
	b.report.add(r)
	for _, x := range []struct {
		what  string
		calls int
		got   []int
	}{{"instances for that step", step, most}, {fmt.Sprintf("instances for %d clients that call without a pause, 20 ms each", clients), clients, steady}} {
		n := median(x.got)
		r := row{what: x.what, hearth: fmt.Sprintf("%d", n), ratio: fmt.Sprintf("%+.0f %%", 100*(float64(n)/float64(x.calls)-1))}
		r.atMost(float64(n), float64(x.calls*11/10))
		b.report.add(r)
	}
	return nil
}

// watch looks at a function's instances until stop, which returns the most of
// them, starting ones included.
func (s *server) watch(name string) (stop func() int) {
	done, most := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				most <- n
				return
			case <-time.After(50 * time.Millisecond):
			}
			st, err := s.status()
			if err != nil {
				continue
			}
			for _, f := range st.Scale {
				if f.Function == name {
					n = max(n, f.Instances+f.Starting)
				}
			}
		}
	}()
	return func() int {
		close(done)
		return <-most
	}
}

// again calls a function from n connections, without a pause, for d.
func (s *server) again(name string, n int, d time.Duration) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c, err := dial(s.port)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.Close()
			for begin := time.Now(); time.Since(begin) < d && errs[i] == nil; {
				_, errs[i] = c.call(name, fmt.Sprintf("a%d", i))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
