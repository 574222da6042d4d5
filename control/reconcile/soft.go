package reconcile

import (
	"context"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// soft is what a Foreign knows that need not survive a restart.
type soft struct {
	mu     sync.Mutex
	drafts map[store.Key]draft     // whose images are to be resolved
	fails  map[store.Key]int       // checks and resolutions in a row that failed
	due    map[store.Key]time.Time // when the next is tried
	cancel map[store.Key]context.CancelFunc
}

// draft is a revision whose images want digests.
type draft struct {
	revision *api.Revision
	within   time.Duration
}

func newSoft() *soft {
	return &soft{
		drafts: map[store.Key]draft{}, fails: map[store.Key]int{}, due: map[store.Key]time.Time{}, cancel: map[store.Key]context.CancelFunc{},
	}
}

// draft notes what is to be resolved for k; false when that was known.
func (s *soft) draft(k store.Key, d draft) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.drafts[k].revision
	s.drafts[k] = d
	return old == nil || old.Metadata.UID != d.revision.Metadata.UID
}

func (s *soft) drafted(k store.Key) draft {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drafts[k]
}

// failed counts and returns how long to wait until the next try.
func (s *soft) failed(k store.Key, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails[k]++
	wait := retryWait(s.fails[k])
	s.due[k] = now.Add(wait)
	return wait
}

func (s *soft) succeeded(k store.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.fails, k)
	delete(s.due, k)
	delete(s.drafts, k)
}

// rest is the time until k is due; 0 and less: it is.
func (s *soft) rest(k store.Key, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.due[k]; ok {
		return t.Sub(now)
	}
	return 0
}

// wake makes k due.
func (s *soft) wake(k store.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.due, k)
}

// retry makes everything of a namespace due that failed.
func (s *soft) retry(namespace string) (keys []store.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.due {
		if k.Namespace == namespace {
			delete(s.due, k)
			keys = append(keys, k)
		}
	}
	return keys
}

// starting notes how the check of k is stopped; nil: it has ended.
func (s *soft) starting(k store.Key, cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel[k] = cancel; cancel == nil {
		delete(s.cancel, k)
	}
}

// forget drops all about k and stops its check.
func (s *soft) forget(k store.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.cancel[k]; cancel != nil {
		cancel()
	}
	delete(s.drafts, k)
	delete(s.fails, k)
	delete(s.due, k)
}
