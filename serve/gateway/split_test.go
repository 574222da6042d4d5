package gateway

import (
	"fmt"
	"net/http"
	"testing"

	"pgregory.net/rapid"
)

// TestSplitProperties: over each round of turns every choice gets exactly its
// weight; one that is not ready gives its turns to others and loses none later;
// a tag leads to its own alone; who is sticky stays while his choice has a share.
func TestSplitProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "choices")
		refs, shares, sum := make([]*revisionRef, n), make([]share, n), 0
		for i := range n {
			refs[i] = &revisionRef{}
			refs[i].cur.Store(&revision{name: fmt.Sprint("r", i), uid: fmt.Sprint(i), function: &function{}})
			shares[i] = share{revision: refs[i], weight: rapid.IntRange(0, 40).Draw(t, "weight"), tag: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "tag")}
			sum += shares[i].weight
		}
		if sum == 0 {
			shares[0].weight, sum = 1, 1
		}
		target := &target{}
		target.split.set(shares)
		call := func(header, value string) string {
			c := &call{target: target, r: &http.Request{Header: http.Header{}}}
			if header != "" {
				c.r.Header.Set(header, value)
			}
			r, _ := target.choose(c)
			if r == nil {
				return ""
			}
			return r.name
		}
		count := func(rounds int) map[string]int {
			got := map[string]int{}
			for range rounds * sum {
				got[call("", "")]++
			}
			return got
		}
		exact := func(got map[string]int, rounds int) {
			for i, s := range shares {
				if name := fmt.Sprint("r", i); got[name] != rounds*s.weight {
					t.Fatalf("%s got %d of %d, its weight is %d of %d", name, got[name], rounds*sum, s.weight, sum)
				}
			}
		}
		exact(count(2), 2)

		// One goes, and comes back.
		gone := rapid.IntRange(0, n-1).Draw(t, "gone")
		was := refs[gone].cur.Swap(nil)
		others := sum > shares[gone].weight
		for name, times := range count(1) {
			if name == was.name || (name == "") == others && times > 0 {
				t.Fatalf("%d calls went to %q while %s was gone", times, name, was.name)
			}
		}
		refs[gone].cur.Store(was)
		exact(count(1), 1)

		for _, tag := range []string{"a", "b", "none"} {
			any := false
			for _, s := range shares {
				any = any || s.tag == tag
			}
			for range 20 {
				got := call("Hearth-Tag", tag)
				for i, s := range shares {
					if any && got == fmt.Sprint("r", i) && s.tag != tag {
						t.Fatalf("tag %s led to %s", tag, got)
					}
				}
			}
		}

		target.rules = &rules{sticky: &sticky{header: "X-User"}}
		user := rapid.StringN(1, 20, -1).Draw(t, "user")
		first := call("X-User", user)
		for range 5 {
			if got := call("X-User", user); got != first {
				t.Fatalf("%q came to %s and then to %s", user, first, got)
			}
		}
		// Others' shares shrink and one more comes: whoever moves, moves there.
		extra := &revisionRef{}
		extra.cur.Store(&revision{name: "extra", uid: "x", function: &function{}})
		target.split = split{}
		target.split.set(append(shares, share{revision: extra, weight: 20}))
		if got := call("X-User", user); got != first && got != "extra" {
			t.Fatalf("%q moved from %s to %s, for which there is no reason", user, first, got)
		}
	})
}
