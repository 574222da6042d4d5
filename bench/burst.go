package main

import (
	"fmt"
	"sync"
	"time"
)

// together is how many functions are called at once.
const together = 100

// burst is section b: for each language with the pool as hearth sizes it, and
// again with a tenth of the calls as its upper bound.
func (b *bench) burst() error {
	for _, most := range []int{0, together / 10} {
		for _, c := range codes {
			if err := b.burstOf(c.language, c.code, most); err != nil {
				return fmt.Errorf("%s: %w", c.language, err)
			}
		}
	}
	return nil
}

func (b *bench) burstOf(language, code string, most int) error {
	bare, err := b.bare(language)
	if err != nil {
		return err
	}
	s, err := b.start(fmt.Sprintf("burst-%s-%d", language, most))
	if err != nil {
		return err
	}
	defer s.stop()
	if most > 0 {
		if err := s.pool(language, most, most); err != nil {
			return err
		}
	}
	var all []function
	for i := range together {
		own := code
		if language != "go" {
			own = fmt.Sprintf("%s\n%s %d\n", code, map[string]string{"node": "//", "python": "#"}[language], i)
		}
		all = append(all, function{name: fmt.Sprintf("f-%d", i), runtime: language, code: own, idle: time.Second})
	}
	if err := s.deploy(all); err != nil {
		return err
	}
	rounds := b.rounds
	var hearth, peers, typical []time.Duration
	var pools []int
	for round := range rounds {
		warm, err := s.quiet()
		if err != nil {
			return err
		}
		// Bare ones first: now nothing of hearth's is at work.
		d, err := executeAll(bare, together)
		if err != nil {
			return err
		}
		if err := b.pause(500 * time.Millisecond); err != nil {
			return err
		}
		begin := time.Now()
		last, half, err := s.callAll(all, fmt.Sprintf("r%d", round))
		if err != nil {
			return err
		}
		cold, err := s.coldCalls(begin, together)
		if err != nil {
			return err
		}
		if len(cold) != together {
			return fmt.Errorf("only %d of %d calls were cold", len(cold), together)
		}
		b.detail("%s pool %v: last %.0f ms, half %.0f ms; bare %.0f ms", language, warm, ms(last), ms(half), ms(d))
		hearth, typical, peers, pools = append(hearth, last), append(typical, half), append(peers, d), append(pools, warm[language])
	}
	h, p := median(hearth), median(peers)
	r := row{
		what: fmt.Sprintf("%s, pool of %d", language, median(pools)), hearth: fmt.Sprintf("%.0f ms (half %.0f)", ms(h), ms(median(typical))),
		peer: fmt.Sprintf("100 bare execs %.0f ms", ms(p)), ratio: fmt.Sprintf("%.3f", share(h, p)),
	}
	if most > 0 {
		r.what = fmt.Sprintf("%s, ten times the pool of %d", language, median(pools))
	}
	if t := map[string]float64{"node": 0.5, "python": 0.25}[language]; t > 0 {
		r.atMost(share(h, p), t)
		if most > 0 {
			r.verdict = "(" + r.verdict + ")" // the target is for the pool hearth would have
		}
	}
	b.report.add(r)
	return nil
}

// callAll calls all functions at once, each over a connection of its own, and
// returns when the last and when half of them had answered.
func (s *server) callAll(all []function, id string) (last, half time.Duration, err error) {
	conns := make([]*conn, len(all))
	for i := range all {
		if conns[i], err = dial(s.port); err != nil {
			return 0, 0, err
		}
		defer conns[i].Close()
	}
	took, errs := make([]time.Duration, len(all)), make([]error, len(all))
	var wg sync.WaitGroup
	begin := time.Now()
	for i, f := range all {
		wg.Go(func() {
			late := time.Since(begin)
			took[i], errs[i] = conns[i].call(f.name, fmt.Sprintf("%s-%d", id, i))
			took[i] += late
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, 0, err
		}
	}
	return quantile(took, 1), median(took), nil
}
