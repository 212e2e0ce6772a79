package config

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// unknown reports a key that a mapping cannot have, with the one that was
// probably meant and all that would be right. given are the known keys that
// the mapping has.
func (d *decoder) unknown(key *yaml.Node, given map[string]bool, t reflect.Type) {
	info := d.info(t)
	text := fmt.Sprintf("unknown key %q, ", short(key.Value))
	if len(d.src.wrong) > 5*maxShown { // nobody will see it
	} else if below := d.keyBelow(key.Value, given, t); below != "" {
		text += fmt.Sprintf("it belongs below %q; ", below)
	} else if meant := nearest(key.Value, info.keys); meant != "" {
		text += fmt.Sprintf("did you mean %q? ", meant)
	}
	d.fail(key, "%swant one of %s", text, strings.Join(info.keys, ", "))
}

// keyBelow returns the given key below which key would be right, such as
// health for a url that stands beside it.
func (d *decoder) keyBelow(key string, given map[string]bool, t reflect.Type) string {
	info := d.info(t)
	for _, k := range info.keys {
		below := t.FieldByIndex(info.fields[k]).Type
		if below.Kind() == reflect.Pointer {
			below = below.Elem()
		}
		if !given[k] || below.Kind() != reflect.Struct {
			continue
		}
		if _, ok := d.info(below).fields[key]; ok {
			return k
		}
	}
	return ""
}

// nearest returns the key that was probably meant, "" if none is near.
func nearest(key string, keys []string) string {
	key = strings.ToLower(strings.ReplaceAll(key, "-", "_"))
	best, least := "", len(key)/3+1
	for _, k := range keys {
		for i, name := range append([]string{k}, otherNames(k)...) {
			d := distance(key, name, least)
			if i == 0 && d < least || d < least-1 || d == 0 {
				best, least = k, d
			}
		}
	}
	return best
}

// otherNames lists what other monitors, and people, call a key.
func otherNames(key string) []string {
	switch key {
	case "every":
		return []string{"interval", "period", "frequency", "schedule", "scrape_interval"}
	case "cron":
		return []string{"crontab", "schedule_cron"}
	case "timezone":
		return []string{"tz", "time_zone"}
	case "confirm":
		return []string{"retries", "retry", "attempts", "tries"}
	case "checks":
		return []string{"monitors", "probes", "endpoints", "targets", "services"}
	case "rules":
		return []string{"alerts", "alerting", "thresholds"}
	case "notify":
		return []string{"notifiers", "notifications", "receivers", "channels", "outputs"}
	case "websocket":
		return []string{"ws", "wss", "socket", "web_socket"}
	case "route":
		return []string{"http", "https", "request", "endpoint"}
	case "health":
		return []string{"healthcheck", "health_check", "healthz"}
	case "url":
		return []string{"uri", "target", "address", "endpoint", "path", "host"}
	case "labels":
		return []string{"tags"}
	case "needs":
		return []string{"depends_on", "parent", "parents", "dependencies", "requires"}
	case "only_if":
		return []string{"if", "when", "condition", "enabled"}
	case "insecure_skip_verify":
		return []string{"insecure", "verify", "skip_verify"}
	case "above":
		return []string{"threshold", "greater_than", "more_than", "gt"}
	case "at_least":
		return []string{"gte", "minimum"}
	case "over":
		return []string{"window", "within", "during"}
	case "select":
		return []string{"selector", "match", "matchers", "filter"}
	case "severity":
		return []string{"priority", "level"}
	}
	return nil
}

// distance returns the edit distance of two short texts (Damerau's, without
// repeated transpositions); above limit any larger number.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
