package probe

import (
	"net/url"
	"strings"
	"sync"
)

// Rotation is a series of secrets of which the newest matter: tokens that are
// renewed, values that a run captured. Its Redactor knows the last ones and
// forgets older ones, so that a monitor that gets a token each minute does not
// grow. A nil Rotation keeps nothing.
type Rotation struct {
	r    *Redactor
	keep int

	mu     sync.Mutex
	values []string // the oldest first
}

// Rotation returns one that keeps the newest so many values known.
func (r *Redactor) Rotation(keep int) *Rotation { return &Rotation{r: r, keep: keep} }

// Add makes further secrets known. Those shorter than 4 bytes are ignored.
func (o *Rotation) Add(secrets ...string) {
	if o == nil || o.r == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.r.mu.Lock()
	defer o.r.mu.Unlock()
	for _, s := range secrets {
		s = strings.TrimSpace(s)
		all := forms(s)
		if all == nil || o.again(s) {
			continue
		}
		for _, form := range all {
			o.r.know(form, 1)
		}
		if o.values = append(o.values, s); len(o.values) > o.keep {
			for _, form := range forms(o.values[0]) {
				o.r.forget(form)
			}
			o.values = append(o.values[:0], o.values[1:]...)
		}
	}
}

// again makes a value that is there already the newest.
func (o *Rotation) again(s string) bool {
	for i, v := range o.values {
		if v == s {
			o.values = append(append(o.values[:i], o.values[i+1:]...), s)
			return true
		}
	}
	return false
}

// AddHeader is Redactor.AddHeader for values that come and go.
func (o *Rotation) AddHeader(name, value string) { o.Add(headerSecrets(name, value)...) }

// AddURL is Redactor.AddURL for values that come and go.
func (o *Rotation) AddURL(u *url.URL) { o.Add(urlSecrets(u)...) }
