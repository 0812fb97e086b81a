// Package page is a web page on which people look at memories: what is in them, what a question takes under two budgets, and what was
// spent. It loads nothing from elsewhere, and asks the server that it comes from for everything it shows.
package page

import (
	"bytes"
	"embed"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"
)

//go:embed files
var files embed.FS

// policy lets the page run its own scripts and ask its own server, and nothing else: what memories say can load nothing, run nothing and
// make no HTML.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Prefix is where the page's parts are. The page itself is at /.
const Prefix = "/page/"

// Handler serves the page at / and its parts below Prefix. None of these files holds anything of a memory.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "index.html"
		if r.URL.Path != "/" {
			name = path.Base(r.URL.Path)
		}
		data, err := fs.ReadFile(files, "files/"+name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		for header, value := range map[string]string{"Content-Security-Policy": policy, "Content-Type": mime.TypeByExtension(path.Ext(name)), "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-cache"} {
			w.Header().Set(header, value)
		}
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
	})
}
