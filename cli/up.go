package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/core/engine"
)

// StartFunc starts a server and returns when it is ready. A port that is taken
// is api.CodePortTaken, a state folder in use api.CodeHeld; nothing is left
// running after an error.
type StartFunc func(ctx context.Context, c UpConfig) (*Running, error)

// UpConfig is what the flags of hearth up say.
type UpConfig struct {
	State       string // folder; made when it is not there
	GatewayHost string // address the gateway listens on
	GatewayPort int    // 0: any free one
	APIPort     int    // 0: any free one; the API listens on 127.0.0.1
	TLSCert     string // files for the gateway; empty: plain HTTP
	TLSKey      string
	TLSPort     int    // second port of the gateway, for TLS; -1: none, 0: any free one
	ACME        string // "on", or URL of an authority's directory; empty: off
	ACMEEmail   string
	Version     string
	Log         *slog.Logger
}

// Running is a started server.
type Running struct {
	GatewayURL string // http://localhost:8080
	SecureURL  string // https://localhost:8443; empty: the gateway has no second port
	APIURL     string // https://localhost:4000
	Token      string // bearer token of the machine's owner
	CA         []byte // PEM certificate to trust for APIURL
	CAFile     string // file that holds CA
	Kubeconfig string // file
	State      string // folder
	Engine     string // its name: process
	Findings   []engine.Finding
	Ready      time.Duration // from Start to ready

	Failed <-chan error                // gets the error of a part that ended by itself
	Close  func(context.Context) error // drains and stops everything
}

type upFlags struct {
	UpConfig
	noWatch bool
	verbose bool
}

// closeWithin bounds how long up takes to drain and stop.
const closeWithin = 30 * time.Second

func (a *app) upCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up [FILE|FOLDER…]",
		Short: "Start everything on this machine",
		Long: `Start everything on this machine: the gateway that answers calls, the API, the builder. State is kept in the state folder.
Files and folders given are deployed, and deployed again whenever they change; while a build fails the last good revision keeps serving.`,
		Example: `  hearth up
  hearth up hello.js shop/
  hearth up --gateway-port 8081 --api-port 4001 --state /tmp/second`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runUp(cmd.Context(), args, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.State, "state", "", "`folder` where everything is kept (HEARTH_STATE; default \".hearth\")")
	fl.IntVar(&f.GatewayPort, "gateway-port", 8080, "port that answers calls; 0 takes a free one")
	fl.StringVar(&f.GatewayHost, "gateway-host", "127.0.0.1", "`address` the gateway listens on; 0.0.0.0 is every network")
	fl.IntVar(&f.APIPort, "api-port", 4000, "port of the API; 0 takes a free one")
	fl.StringVar(&f.TLSCert, "tls-cert", "", "PEM `file` of the gateway's certificate; with it the gateway speaks HTTPS")
	fl.StringVar(&f.TLSKey, "tls-key", "", "PEM `file` of its key")
	fl.IntVar(&f.TLSPort, "tls-port", -1, "second port of the gateway, for HTTPS with the certificates of routes; none by default")
	fl.Lookup("tls-port").DefValue = "0" // so that help does not speak of -1
	fl.StringVar(&f.ACME, "acme", "", "get certificates for routes with tls.acme: on for Let's Encrypt, whose terms you accept with it, or the `URL` of a directory")
	fl.StringVar(&f.ACMEEmail, "acme-email", "", "`address` that is told when something is wrong with a certificate")
	fl.BoolVar(&f.noWatch, "no-watch", false, "deploy what is given once, and do not watch it")
	fl.BoolVar(&f.verbose, "verbose", false, "show the server's own log")
	return cmd
}

func (a *app) runUp(ctx context.Context, paths []string, f upFlags) error {
	f.State = a.stateDir(f.State)
	if (f.TLSCert == "") != (f.TLSKey == "") {
		return usage("--tls-cert and --tls-key belong together").WithHint("give both, or none")
	}
	for name, port := range map[string]int{"--gateway-port": f.GatewayPort, "--api-port": f.APIPort} {
		if port < 0 || port > 65535 {
			return usage("%s: %d is not a port", name, port).WithHint("1 to 65535, or 0 for any free one")
		}
	}
	if f.TLSPort < -1 || f.TLSPort > 65535 {
		return usage("--tls-port: %d is not a port", f.TLSPort).WithHint("1 to 65535, or 0 for any free one")
	}
	if f.ACME != "" && f.ACME != "on" && !strings.HasPrefix(f.ACME, "https://") && !strings.HasPrefix(f.ACME, "http://") {
		return usage("--acme: %q is neither on nor the URL of a directory", f.ACME).WithHint("--acme on, or --acme https://ca.example.com/acme/directory")
	}
	if f.ACME != "" && f.TLSPort < 0 && f.TLSCert == "" {
		return usage("--acme gets certificates, and nothing serves them").WithHint("give --tls-port 443 besides")
	}
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return api.Errorf(api.CodeNotFound, "cannot deploy %s: there is no such file or folder", p).WithHint("hearth up alone starts without a function")
		}
	}
	if a.env.Start == nil {
		return api.Errorf(api.CodeUnsupported, "this build of hearth has no server")
	}
	level := slog.LevelError
	if f.verbose {
		level = slog.LevelDebug
	}
	f.Log = slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: level}))
	f.Version = a.env.Version

	p := a.progress("starting")
	r, err := a.env.Start(ctx, f.UpConfig)
	p.done()
	if err != nil {
		return err
	}
	t, err := a.announce(r)
	var goodbye string
	if err == nil {
		u := &up{a: a, r: r, t: t, flags: f}
		err = u.run(ctx, paths)
		goodbye = u.goodbye()
	}
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	p = a.progress("stopping")
	cerr := r.Close(cctx)
	p.done()
	if goodbye != "" && cerr == nil {
		a.say("%s", goodbye)
	}
	if err == nil && cerr != nil {
		err = api.Errorf(api.CodeInternal, "stopped, but not cleanly: %w", cerr).WithHint("ps shows whether a process was left behind")
	}
	return err
}

// announce keeps the context file and prints the banner.
func (a *app) announce(r *Running) (target, error) {
	t := target{Name: localContext, URL: r.APIURL, Token: r.Token, CA: string(r.CA), CAFile: r.CAFile, Gateway: r.GatewayURL, Kubeconfig: r.Kubeconfig}
	full, err := filepath.Abs(r.State)
	if err != nil {
		return t, usage("cannot tell where %s is: %v", r.State, err)
	}
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return t, err
	}
	if err := writePrivate(filepath.Join(full, contextFile), append(data, '\n')); err != nil {
		return t, err
	}
	if a.machine() {
		v := map[string]any{"gateway": r.GatewayURL, "api": r.APIURL, "state": full, "kubeconfig": r.Kubeconfig, "readySeconds": r.Ready.Seconds()}
		if r.SecureURL != "" {
			v["secure"] = r.SecureURL
		}
		return t, a.showValue(v)
	}
	a.say("%s", a.banner(r, a.found(r)))
	return t, nil
}

// found reports whether commands that are given in this folder find r by
// themselves.
func (a *app) found(r *Running) bool {
	t, ok, err := a.local()
	return ok && err == nil && t.URL == r.APIURL
}

// banner says what runs and where; found is whether other commands find it.
func (a *app) banner(r *Running, found bool) string {
	var b strings.Builder
	line := func(name, value, note string) {
		name = a.paint.dim(fmt.Sprintf("%-9s", name))
		if a.Width > 0 && 43+len(note) > a.Width { // below it, then
			fmt.Fprintf(&b, "  %s %s\n  %-9s %s\n", name, value, "", a.paint.dim(note))
			return
		}
		fmt.Fprintf(&b, "  %s %-29s  %s\n", name, value, a.paint.dim(note))
	}
	fmt.Fprintf(&b, "%s   ready in %s\n\n", a.paint.bold("hearth "+a.env.Version), short(r.Ready))
	scheme, host, _ := strings.Cut(r.GatewayURL, "://")
	_, port, _ := strings.Cut(host, ":")
	name := scheme + "://<name>.localhost"
	if port != "" {
		name += ":" + port
	}
	line("Gateway", r.GatewayURL, name)
	if r.SecureURL != "" {
		line("", r.SecureURL, "with the certificates of routes")
	}
	note := `context "local"; kubectl: eval "$(hearth env)"`
	if !found {
		note = "for other commands: export HEARTH_STATE=" + r.State
	}
	line("API", r.APIURL+"/apis", note)
	state := r.State
	if !filepath.IsAbs(state) && !strings.HasPrefix(state, ".."+string(filepath.Separator)) {
		state = "./" + filepath.Clean(state)
	}
	line("State", state, "kept between runs; hearth reset forgets it")
	note = "every check of the sandbox passed"
	var missing []string
	for _, f := range r.Findings {
		if !f.OK {
			missing = append(missing, f.Check)
		}
	}
	if len(missing) > 0 {
		note = "not here: " + strings.Join(missing[:min(3, len(missing))], ", ") + "; hearth doctor"
	}
	line("Engine", r.Engine, note)
	return b.String()
}

func readContextFile(state string) (target, error) {
	t := target{Name: localContext}
	data, err := os.ReadFile(filepath.Join(state, contextFile))
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(data, &t)
}

func (t target) client() (*client.Client, error) {
	return client.New(client.Config{URL: t.URL, CA: []byte(t.CA), Token: t.Token})
}

// up is a running hearth up.
type up struct {
	a       *app
	r       *Running
	t       target
	c       *client.Client
	flags   upFlags
	targets []*deployment
}

// run deploys and watches until ctx ends, the user quits or the server stops.
func (u *up) run(ctx context.Context, paths []string) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Commands typed as keys, and deployments, talk to this very server.
	if u.c, err = u.t.client(); err != nil {
		return err
	}
	if u.a.namespace != "" {
		u.c = u.c.In(u.a.namespace)
	}
	defer u.c.Close()
	for _, p := range paths {
		u.targets = append(u.targets, &deployment{path: p})
	}
	work := make(chan struct{})
	go func() {
		defer close(work)
		u.work(ctx)
	}()
	keys := u.keys(ctx, stop)
	defer func() {
		stop()
		<-work
		keys()
	}()
	select {
	case <-ctx.Done():
		return nil // Ctrl-C and q are how it is meant to end
	case err := <-u.r.Failed:
		return api.Errorf(api.CodeInternal, "a part of the server ended: %w", err).WithHint("hearth up --verbose shows its log")
	}
}

// goodbye is the line at the end: what is kept.
func (u *up) goodbye() string {
	text := "stopped; kept in " + u.r.State
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var kept []string
	if u.c != nil {
		for _, k := range []api.Kind{mustKind("function"), mustKind("ksvc"), mustKind("route"), mustKind("runtime")} {
			l, err := u.c.List(ctx, k, client.ListOptions{AllNamespaces: true})
			if err == nil && len(l.Items) > 0 {
				kept = append(kept, count(len(l.Items), k.Singular))
			}
		}
	}
	if len(kept) > 0 {
		text += ": " + strings.Join(kept, ", ")
	}
	return text
}
