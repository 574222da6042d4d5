package main

import (
	"fmt"
	"time"
)

// codes are functions that answer with one byte.
var codes = [...]struct{ language, code string }{
	{"node", "exports.handler = () => 'x'\n"},
	{"python", "def main(event):\n    return 'x'\n"},
	{"go", "package handler\n\nimport (\n\t\"io\"\n\t\"net/http\"\n)\n\nfunc Handler(w http.ResponseWriter, r *http.Request) { io.WriteString(w, \"x\") }\n"},
}

// cold is section a. Of every language a few functions with different code are
// called one after the other while they have no instance, each call right after
// a bare start of the interpreter; then all are left alone until none has an
// instance.
func (b *bench) cold() error {
	per := 20
	if b.quick {
		per = 5
	}
	s, err := b.start("cold")
	if err != nil {
		return err
	}
	defer s.stop()
	var all []function
	bares := map[string][]string{}
	for _, c := range codes {
		if bares[c.language], err = b.bare(c.language); err != nil {
			return err
		}
		for i := range per {
			code := c.code
			if c.language != "go" { // a Go program per function would only measure the compiler
				code = fmt.Sprintf("%s\n%s %d\n", code, map[string]string{"node": "//", "python": "#"}[c.language], i)
			}
			all = append(all, function{name: fmt.Sprintf("%s-%d", c.language, i), runtime: c.language, code: code, idle: 20 * time.Second})
		}
	}
	if err := s.deploy(all); err != nil {
		return err
	}
	nc, err := dial(s.port)
	if err != nil {
		return err
	}
	defer func() { nc.Close() }()
	times, bare, warm := map[string][]time.Duration{}, map[string][]time.Duration{}, 0
	for round := range b.rounds {
		pools, err := s.quiet()
		if err != nil {
			return err
		}
		b.detail("round %d, pools %v", round+1, pools)
		begin := time.Now()
		taken := map[string]time.Duration{}
		nc.Close() // the gateway closes what is idle for long
		if nc, err = dial(s.port); err != nil {
			return err
		}
		for i := range per {
			for _, c := range codes {
				d, err := execute(bares[c.language])
				if err != nil {
					return fmt.Errorf("bare %s: %w", c.language, err)
				}
				bare[c.language] = append(bare[c.language], d)
				if err := b.pause(20 * time.Millisecond); err != nil {
					return err
				}
				id := fmt.Sprintf("%s-%d-%d", c.language, i, round)
				if taken[id], err = nc.call(fmt.Sprintf("%s-%d", c.language, i), id); err != nil {
					return err
				}
				// What the start left to do (a pool is refilled) is not the next one's business.
				if err := b.pause(200 * time.Millisecond); err != nil {
					return err
				}
			}
		}
		was, err := s.coldCalls(begin, len(taken))
		if err != nil {
			return err
		}
		for id, d := range taken {
			if !was[id] {
				warm++
				continue
			}
			for _, c := range codes {
				if len(id) > len(c.language) && id[:len(c.language)+1] == c.language+"-" {
					times[c.language] = append(times[c.language], d)
				}
			}
		}
	}
	if warm > 0 {
		b.report.remark("%d calls found an instance running and were left out.", warm)
	}
	targets := map[string]float64{"node": 0.15, "python": 0.30}
	for _, c := range codes {
		h, p := times[c.language], bare[c.language]
		h50, h99, p50, p99 := median(h), quantile(h, 0.99), median(p), quantile(p, 0.99)
		r := row{
			what: fmt.Sprintf("%s, p50 of %d", c.language, len(h)), hearth: fmt.Sprintf("%.2f ms", ms(h50)),
			peer: fmt.Sprintf("bare exec %.2f ms", ms(p50)), ratio: fmt.Sprintf("%.3f", share(h50, p50)),
		}
		if t := targets[c.language]; t > 0 {
			r.atMost(share(h50, p50), t)
		}
		b.report.add(r)
		r = row{
			what: c.language + ", p99", hearth: fmt.Sprintf("%.2f ms", ms(h99)), peer: fmt.Sprintf("bare exec %.2f ms", ms(p99)),
			ratio: fmt.Sprintf("%.1f × own p50", share(h99, h50)),
		}
		r.atMost(share(h99, h50), 5)
		b.report.add(r)
	}
	return nil
}
