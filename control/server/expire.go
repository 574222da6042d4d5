package server

import (
	"context"
	"time"

	"github.com/hearth-run/hearth/api"
)

// expire deletes events older than their time to live.
func (s *Server) expire(ctx context.Context) {
	k, _ := s.byResource(api.Events)
	objs, _, _, err := s.list(ctx, target{kind: k}, selector{}, 0, "")
	if err != nil {
		return // the next tick tries again
	}
	for _, o := range objs {
		if time.Since(eventTime(o)) < s.cfg.EventTTL {
			continue
		}
		t := target{kind: k, namespace: metaText(o, "namespace"), name: metaText(o, "name")}
		if _, _, err := s.remove(ctx, t, deleteOptions{Policy: "Background"}); err != nil && ctx.Err() == nil && !api.IsCode(err, api.CodeNotFound) {
			s.log.WarnContext(ctx, "an old event cannot be deleted", "event", t.name, "error", err)
		}
	}
}

// eventTime is when an event last happened.
func eventTime(o object) time.Time {
	var newest time.Time
	for _, s := range []string{text(o, "lastTimestamp"), text(o, "eventTime"), text(o, "firstTimestamp"), metaText(o, "creationTimestamp")} {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil && t.After(newest) {
			newest = t
		}
	}
	return newest
}
