package server_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hearth-run/hearth/control/server"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
)

// dated is a writer that has write deadlines and tells each of them.
type dated struct {
	*httptest.ResponseRecorder
	deadlines chan time.Time
}

func (d dated) SetWriteDeadline(t time.Time) error {
	d.deadlines <- t
	return nil
}

// TestQuietStreamsStay: a deadline is for one event only. HTTP/2 ends a stream
// when its deadline passes, also when nothing is being written.
func TestQuietStreamsStay(t *testing.T) {
	records := memory.NewRecords()
	w := newWorld(t, func(c *server.Config) { c.Records = records })
	records.AddLine(engine.Line{Time: time.Now(), Tenant: "default", Function: "live", Text: "one"})
	for _, path := range []string{
		"/api/v1/namespaces?watch=true",
		"/hearth/v1/namespaces/default/logs?follow=true&function=live",
	} {
		t.Run(path, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			d := dated{httptest.NewRecorder(), make(chan time.Time, 64)}
			r := httptest.NewRequest("GET", path, nil).WithContext(ctx)
			r.Header.Set("Authorization", "Bearer "+w.token)
			ended := make(chan struct{})
			go func() { defer close(ended); w.srv.ServeHTTP(d, r) }()
			defer func() { cancel(); <-ended }()
			late := time.After(patience)
			for begun := false; ; {
				select {
				case deadline := <-d.deadlines:
					if begun && deadline.IsZero() {
						return
					}
					begun = begun || !deadline.IsZero()
				case <-late:
					t.Fatalf("after an event was written its deadline stays (an event was seen: %v)", begun)
				}
			}
		})
	}
}
