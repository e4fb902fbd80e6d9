package api

import (
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"
)

// registerDocs serves a page with the OpenAPI document. The binary contains all its
// files. All addresses are relative: a proxy may add a prefix to the path.
func registerDocs(router *chi.Mux) {
	page := v5emb.NewWithConfig(swgui.Config{
		InternalBasePath: "/docs/",
		SettingsUI: map[string]string{
			"tryItOutEnabled": "false",
			// The validator is a public service.
			"validatorUrl": "null",
		},
	})("BenchLedger API", "../openapi.json", "./")
	router.Get("/docs/*", func(w http.ResponseWriter, r *http.Request) {
		// The page may load nothing from elsewhere, whatever the bundle does.
		w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'self' 'unsafe-inline'; "+
			"style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; form-action 'none'; base-uri 'none'")
		page.ServeHTTP(w, r)
	})
	for _, path := range []string{"/", "/docs"} {
		router.Get(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "docs/") // http.Redirect would make it absolute.
			w.WriteHeader(http.StatusFound)
		})
	}
}
