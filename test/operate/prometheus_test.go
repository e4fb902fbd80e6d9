package operate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDashboard evaluates each expression of the Grafana dashboard on a Prometheus
// that scrapes a server under load, whose database fails now and then: none is empty,
// nor would be without the zero that stands for nothing.
func TestDashboard(t *testing.T) {
	t.Parallel()
	needs(t, "prometheus")
	dir := newDir(t)
	database := startDatabase(t, filepath.Join(dir, "database"), nil)
	metrics, at := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := serve(t, "DATABASE_URL="+database.URL(), "METRICS_ADDR="+metrics)
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("scrape_configs:\n  - job_name: benchledger\n    scrape_interval: 1s\n    static_configs:\n      - targets: ["+metrics+"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	prometheus := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+at, "--log.level=error")
	prometheus.Stderr = os.Stderr
	if err := prometheus.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = prometheus.Process.Kill(); _ = prometheus.Wait() })

	execute(t, database.URL(), `
		create function fail() returns trigger language plpgsql as $$ begin raise 'it fails' using errcode = 'XX000'; end $$;
		create trigger fail before insert on benchmark_runs for each row when (new.suite = 'fails') execute function fail()`)
	n := 0
	load := func() {
		n++
		id := fmt.Sprint("run-", n)
		s.submit(id)
		s.want(http.StatusOK, http.MethodPost, "/api/results", run(id))
		s.want(http.StatusUnprocessableEntity, http.MethodPost, "/api/results", "{}")
		s.want(http.StatusOK, http.MethodPost, "/api/results/bulk", run(id)+"\n{}")
		// What fails, in a query and with 500.
		s.want(http.StatusInternalServerError, http.MethodPost, "/api/results", strings.Replace(run(id+"-failing"), `"suite":"s"`, `"suite":"fails"`, 1))
		for _, path := range []string{"/api/runs", "/api/runs/" + id, "/api/batches/b", "/api/stats"} {
			s.want(http.StatusOK, http.MethodGet, path, "")
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	content, err := os.ReadFile(filepath.Join(root, "deploy/grafana.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	if len(dashboard.Panels) == 0 {
		t.Fatal("the dashboard has no panel")
	}
	for _, panel := range dashboard.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			expression := strings.NewReplacer("$__rate_interval", "5s", " or vector(0)", "").Replace(target.Expr)
			eventually(t, fmt.Sprintf("%s: %s has a value", panel.Title, expression), func() error {
				load()
				var answer struct {
					Status, Error string
					Data          struct {
						Result []struct{ Value [2]any }
					}
				}
				response, err := http.Get("http://" + at + "/api/v1/query?query=" + url.QueryEscape(expression))
				if err != nil {
					return err // It starts.
				}
				defer response.Body.Close()
				if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
					return err
				}
				if answer.Status != "success" {
					t.Fatalf("%s: %s", expression, answer.Error)
				}
				if len(answer.Data.Result) == 0 {
					return fmt.Errorf("no value")
				}
				for _, result := range answer.Data.Result {
					if result.Value[1] != "NaN" {
						return nil
					}
				}
				return fmt.Errorf("values %v", answer.Data.Result)
			})
		}
	}
	if n := strings.Count(string(content), "benchledger_"); n < 10 {
		t.Errorf("%d figures of the server", n)
	}
	// Nothing of the server is left out.
	_, body := get(t, "http://"+metrics+"/metrics")
	for line := range strings.Lines(body) {
		if name, ok := strings.CutPrefix(line, "# TYPE benchledger_"); ok {
			name, _, _ = strings.Cut(name, " ")
			if !strings.Contains(string(content), "benchledger_"+name) {
				t.Errorf("the dashboard does not show benchledger_%s", name)
			}
		}
	}
	if strings.Contains(body, key) {
		t.Error("the metrics show the key")
	}
}
