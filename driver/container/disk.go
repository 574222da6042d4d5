package container

import (
	"context"
	"fmt"
	"time"
)

// diskPeriod is how often what an instance has written is added up, at most; what
// takes long to add up is so less often.
const diskPeriod = 2 * time.Second

// bounded tells whether anything the instance writes to disk has a limit.
func (i *instance) bounded() bool {
	for _, b := range i.boxes {
		if b.spec.Limits.DiskBytes > 0 {
			return true
		}
	}
	for _, v := range i.spec.Pod.Volumes {
		if v.Empty && !v.Memory && v.Size > 0 {
			return true
		}
	}
	return false
}

// watchDisk kills the instance when it has written more than it may. File
// systems count per folder only where they were made for it, so it is added up.
func (i *instance) watchDisk(ctx context.Context) {
	for wait := diskPeriod; pause(ctx, wait); {
		began := time.Now()
		if why := i.tooMuch(); why != "" {
			i.kill(why)
			return
		}
		wait = max(diskPeriod, 20*time.Since(began))
	}
}

func (i *instance) tooMuch() string {
	for _, b := range i.boxes {
		if limit := b.spec.Limits.DiskBytes; limit > 0 {
			if n := b.Disk(); n > limit {
				return fmt.Sprintf("killed: %s wrote %s to its disk (limit %s)", b.spec.Name, size(n), size(limit))
			}
		}
	}
	for _, v := range i.spec.Pod.Volumes {
		if v.Empty && !v.Memory && v.Size > 0 {
			if n := i.volumes[v.Name].Used(); n > v.Size {
				return fmt.Sprintf("killed: volume %s holds %s (limit %s)", v.Name, size(n), size(v.Size))
			}
		}
	}
	return ""
}

// size writes what was measured the way manifests do, without what does not
// matter beside ten units.
func size(n int64) string {
	for _, u := range []struct {
		n int64
		s string
	}{{1 << 30, "Gi"}, {1 << 20, "Mi"}, {1 << 10, "Ki"}} {
		if n >= 10*u.n || n >= u.n && n%u.n == 0 {
			return fmt.Sprint(n/u.n) + u.s
		}
	}
	return fmt.Sprint(n)
}
