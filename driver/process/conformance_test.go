package process

import (
	"testing"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/engine/enginetest"
)

const nodeEcho = `exports.handler = async (event) => {
  const name = event.query.env
  if (name) return process.env[name] ?? ''
  return event.text ? await event.text() : event.body
}`

const pythonEcho = `import os
def main(event):
    name = event.query.get("env")
    if name:
        return os.environ.get(name, "")
    return event.raw
`

func samples(rt, echo, broken, crash, slow, file, missing string, artifact func(map[string]string) string) enginetest.Samples {
	of := func(code string) engine.Spec { return spec(rt, artifact(map[string]string{file: code})) }
	s := enginetest.Samples{Echo: of(echo), Broken: of(broken), Missing: of(echo), Crash: of(crash), Slow: of(slow), Call: call}
	s.Missing.Handler = missing
	return s
}

func TestConformanceNode(t *testing.T) {
	enginetest.Run(t, func(t testing.TB) (engine.Engine, enginetest.Samples) {
		e, artifact, _ := open(t, nil)
		s := samples("node", nodeEcho, "require('./does-not-exist')", "exports.handler = () => process.exit(3)",
			"const end = Date.now() + 2500\nwhile (Date.now() < end);\nexports.handler = () => 'ok'", "index.js", "index.nothing", artifact)
		s.Alive = e.alive
		return e, s
	})
}

func TestConformancePython(t *testing.T) {
	enginetest.Run(t, func(t testing.TB) (engine.Engine, enginetest.Samples) {
		e, artifact, _ := open(t, nil)
		s := samples("python", pythonEcho, "import does_not_exist", "import os\ndef main(event):\n    os._exit(3)\n",
			"import time\ntime.sleep(2.5)\ndef main(event):\n    return 'ok'\n", "main.py", "main.nothing", artifact)
		s.Alive = e.alive
		return e, s
	})
}

// alive counts instances with user code.
func (e *Engine) alive() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.instances)
}
