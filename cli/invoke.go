package cli

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

type invokeFlags struct {
	data    string
	method  string
	path    string
	headers []string
	dataSet bool
}

func (a *app) invokeCommand() *cobra.Command {
	var f invokeFlags
	cmd := &cobra.Command{
		Use:   "invoke NAME[@SAMPLE]",
		Short: "Call a function",
		Long: `Call a function. Its answer's body goes to standard output; status, time, cold or warm start, revision and request id go to standard error.
A status of 400 or above is exit code 1. NAME@SAMPLE sends the request saved in SAMPLE.json, looked for here and in the folder NAME.`,
		Example: `  hearth invoke hello -d '{"name":"Ada"}'
  hearth invoke hello -d @request.json -H 'content-type: application/json'
  hearth invoke hello -X DELETE --path /orders/7?force=1
  hearth invoke hello@sample`,
		Args:              args(1, 1, "the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.dataSet = cmd.Flags().Changed("data")
			return a.runInvoke(cmd.Context(), args[0], f)
		},
	}
	cmd.Flags().StringVarP(&f.data, "data", "d", "", "body to send; @FILE sends a file, @- standard input")
	cmd.Flags().StringVarP(&f.method, "request", "X", "", "method; GET, or POST with a body")
	cmd.Flags().StringArrayVarP(&f.headers, "header", "H", nil, "header to send, `'name: value'`; may be repeated")
	cmd.Flags().StringVar(&f.path, "path", "/", "path and query to send")
	return cmd
}

func (a *app) runInvoke(ctx context.Context, word string, f invokeFlags) error {
	name, sample, hasSample := strings.Cut(strings.TrimPrefix(word, "function/"), "@")
	call, err := a.call(name, f)
	if hasSample && err == nil {
		call, err = readSample(name, sample, call, f)
	}
	if err != nil {
		return err
	}
	c, t, err := a.connect()
	if err != nil {
		return err
	}
	if closer, ok := call.Body.(io.Closer); ok {
		defer closer.Close()
	}
	p := a.progress("calling " + name)
	defer p.done()
	began := time.Now()
	res, err := c.Invoke(ctx, name, call)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	first := time.Since(began)
	p.done()
	if res.StatusCode >= 400 {
		if err := a.invokeFailure(ctx, c, t, name, res); err != nil {
			return err
		}
	}
	a.say("%s", a.verdict(res, first))
	if _, err := io.Copy(a.Out, res.Body); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return api.Errorf(api.CodeInstanceLost, "cannot read the answer of %s to its end: %w", name, err)
	}
	if a.OutTerminal {
		fprintf(a.Out, "\n")
	}
	if res.StatusCode >= 400 {
		return exit(1)
	}
	return nil
}

// verdict is the line about an answer: 200 OK   5 ms (cold)   hello@1   request 7f3k.
func (a *app) verdict(res *http.Response, took time.Duration) string {
	status := res.Status
	switch {
	case res.StatusCode >= 500:
		status = a.paint.bad(status)
	case res.StatusCode >= 400:
		status = a.paint.warn(status)
	default:
		status = a.paint.good(status)
	}
	parts := []string{status, short(took)}
	if s := res.Header.Get("X-Hearth-Start"); s != "" {
		parts[1] += " (" + s + ")"
	}
	if r := res.Header.Get("X-Hearth-Revision"); r != "" {
		parts = append(parts, revisionText(r[strings.LastIndexByte(r, '/')+1:]))
	}
	if id := res.Header.Get("X-Request-Id"); id != "" {
		parts = append(parts, "request "+id)
	}
	return strings.Join(parts, "   ")
}

// invokeFailure returns the error hearth itself answered with, or nil when the
// answer is the function's own. Its body is then still unread.
func (a *app) invokeFailure(ctx context.Context, c *client.Client, t target, name string, res *http.Response) error {
	own := res.Header.Get("X-Hearth-Error") != ""
	if res.Header.Get("X-Hearth-Revision") != "" && !own {
		return nil
	}
	if !own && !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	e := client.ErrorOf(res, body)
	if e == nil {
		res.Body = io.NopCloser(strings.NewReader(string(body)))
		return nil
	}
	if e.Code == api.CodeNotFound || e.Code == api.CodeNoRoute {
		if _, err := c.Get(ctx, mustKind("function"), name); api.IsCode(err, api.CodeNotFound) {
			if url, ok := a.service(ctx, c, name); ok {
				return usage("%s is a service: it answers under its own address, not through the API", name).WithHint("curl %s", url)
			}
			return a.notFound(ctx, c, t, mustKind("function"), name, "cannot invoke "+name+": no such function")
		}
	}
	id := ""
	if r := res.Header.Get("X-Request-Id"); r != "" {
		id = "   request " + r
	}
	a.say("%s%s", a.paint.bad(res.Status), id)
	return e.WithHint("%s", named(e.Help(), name))
}

// call makes the request the flags describe.
func (a *app) call(name string, f invokeFlags) (client.Call, error) {
	call := client.Call{Method: strings.ToUpper(f.method), Path: f.path, Header: http.Header{}}
	if !strings.HasPrefix(call.Path, "/") {
		call.Path = "/" + call.Path
	}
	for _, h := range f.headers {
		k, v, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(k) == "" {
			return call, usage("%q is not a header", h).WithHint("such as -H 'content-type: application/json'")
		}
		call.Header.Add(strings.TrimSpace(k), strings.TrimSpace(v))
	}
	if !f.dataSet {
		return call, nil
	}
	file, isFile := strings.CutPrefix(f.data, "@")
	switch {
	case !isFile:
		call.Body = strings.NewReader(f.data)
		if t := strings.TrimSpace(f.data); json.Valid([]byte(t)) && call.Header.Get("Content-Type") == "" {
			call.Header.Set("Content-Type", "application/json")
		}
	case file == "-":
		call.Body = io.NopCloser(a.In)
	default:
		r, err := os.Open(file)
		if err != nil {
			return call, api.Errorf(api.CodeNotFound, "cannot read the body for %s: %v", name, err).WithHint("-d TEXT sends text, -d @FILE a file")
		}
		call.Body = r
		if filepath.Ext(file) == ".json" && call.Header.Get("Content-Type") == "" {
			call.Header.Set("Content-Type", "application/json")
		}
	}
	return call, nil
}

// sample is a saved request.
type sample struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"` // text, or JSON to send as it is
}

// readSample finds SAMPLE.json; what the flags say wins over it.
func readSample(name, word string, call client.Call, f invokeFlags) (client.Call, error) {
	var data []byte
	var err error
	for _, path := range []string{word + ".json", filepath.Join(name, word+".json")} {
		if data, err = os.ReadFile(path); err == nil {
			break
		}
	}
	if err != nil {
		return call, api.Errorf(api.CodeNotFound, "there is no sample %s.json here or in %s", word, name).
			WithHint(`a sample is {"method":"POST","path":"/","headers":{},"body":{}}; hearth invoke %s -d TEXT needs none`, name)
	}
	var s sample
	if err := json.Unmarshal(data, &s); err != nil {
		return call, api.Errorf(api.CodeInvalid, "%s.json is no sample: %v", word, err).
			WithHint(`it looks like {"method":"POST","path":"/","headers":{},"body":{}}`)
	}
	if call.Method == "" {
		call.Method = strings.ToUpper(s.Method)
	}
	if f.path == "/" && strings.HasPrefix(s.Path, "/") {
		call.Path = s.Path
	}
	for k, v := range s.Headers {
		if call.Header.Get(k) == "" {
			call.Header.Set(k, v)
		}
	}
	if call.Body == nil && len(s.Body) > 0 && string(s.Body) != "null" {
		var text string
		if json.Unmarshal(s.Body, &text) != nil {
			text = string(s.Body)
			if call.Header.Get("Content-Type") == "" {
				call.Header.Set("Content-Type", "application/json")
			}
		}
		call.Body = strings.NewReader(text)
	}
	return call, nil
}
