package config

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestShipped loads the config file that comes with the program, as people
// will: with and without the variables that it mentions.
func TestShipped(t *testing.T) {
	src, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(string(src), "\n"); first != "# yaml-language-server: $schema=./config.schema.json" {
		t.Errorf("the first line is %q, want the one that names the schema to editors", first)
	}
	unset := []string{"", "SLACK_BOT_TOKEN is not set", "SLACK_WEBHOOK_URL is not set", "PAGERDUTY_ROUTING_KEY is not set", "ALERTMANAGER_URL is not set", "WEBHOOK_URL is not set", "SMTP_SERVER is not set"}
	empty := slices.Clone(unset)
	empty[1] = "SLACK_BOT_TOKEN is empty"
	const webhook = "https://hooks.slack.com/services/T000/B000/secret-of-the-hook"
	const pagerKey, hookSecret = "0123456789abcdefghijklmnopqrstuv", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	for _, c := range []struct {
		name, listen, live string
		env                map[string]string
		off                []string // by notifier
	}{
		{"nothing set", "127.0.0.1:8080", "ws://127.0.0.1:8080/live", nil, unset},
		{"PORT", "0.0.0.0:9090", "ws://127.0.0.1:9090/live", map[string]string{"PORT": "9090"}, unset},
		{
			"TARGET", "127.0.0.1:8080", "wss://api.example.com/ws",
			map[string]string{"TARGET": "https://api.example.com", "WS_PATH": "/ws", "SLACK_BOT_TOKEN": ""},
			empty,
		},
		{
			"everything", "127.0.0.1:8080", "ws://127.0.0.1:8080/live",
			map[string]string{
				"SLACK_BOT_TOKEN": "xoxb-1-secret-of-the-bot", "SLACK_CHANNEL": "C0123456789", "SLACK_WEBHOOK_URL": webhook,
				"PAGERDUTY_ROUTING_KEY": pagerKey, "ALERTMANAGER_URL": "http://alertmanager:9093",
				"WEBHOOK_URL": "https://example.com/hook-of-yours", "WEBHOOK_SECRET": hookSecret,
				"SMTP_SERVER": "smtp.example.com:587", "SMTP_USERNAME": "tripline", "SMTP_PASSWORD": "secret-of-the-mail",
				"EMAIL_FROM": "tripline@example.com", "EMAIL_TO": "oncall@example.com",
			},
			[]string{"", "", "", "", "", "", ""},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := Load("config.yaml", src, testEnv(c.env, nil))
			if err != nil {
				t.Fatal(err)
			}
			if cfg.HTTP.Listen != c.listen {
				t.Errorf("listens on %q, want %q", cfg.HTTP.Listen, c.listen)
			}
			var kinds []string
			for _, k := range cfg.Checks {
				kinds = append(kinds, k.Kind)
				if k.Kind == "websocket" && k.Endpoint.URL != c.live {
					t.Errorf("the WebSocket is %s, want %s", k.Endpoint.URL, c.live)
				}
				if k.Confirm != 2 || !k.Endpoint.Repeatable {
					t.Errorf("%s has %d re-probes, want 2", k.Name, k.Confirm)
				}
			}
			if got := strings.Join(kinds, " "); got != "health route route websocket" {
				t.Errorf("kinds are %s", got)
			}
			if len(cfg.Rules) != 7 || len(cfg.Subjects) != 4 || len(cfg.Notifiers) != len(c.off) {
				t.Fatalf("%d rules, %d subjects, %d notifiers", len(cfg.Rules), len(cfg.Subjects), len(cfg.Notifiers))
			}
			plan := cfg.Plan(planTime())
			for i, n := range cfg.Notifiers {
				if n.Off != c.off[i] || (n.Settings == nil) != (n.Off != "") {
					t.Errorf("%s is off: %q, want %q", n.Name, n.Off, c.off[i])
				}
				if n.Off != "" && !strings.Contains(plan, "off: "+n.Off) {
					t.Errorf("the plan does not say off: %s", n.Off)
				}
			}
			for _, secret := range []string{"secret-of-the-bot", "secret-of-the-hook", "hook-of-yours", pagerKey, hookSecret} {
				if strings.Contains(plan, secret) {
					t.Errorf("the plan shows %s", secret)
				}
				if c.env["SLACK_BOT_TOKEN"] != "" && strings.Contains(cfg.Redact.String("x "+secret+" "+webhook+" xoxb-1-"+secret), "/secret-of-the-hook") {
					t.Error("the redactor does not know the webhook")
				}
			}
			if c.env == nil && len(cfg.Warnings) > 0 {
				t.Errorf("warnings: %q", cfg.Warnings)
			}
		})
	}
	t.Run("Slack without a channel", func(t *testing.T) {
		_, err := Load("config.yaml", src, testEnv(map[string]string{"SLACK_BOT_TOKEN": "xoxb-1"}, nil))
		var list *Errors
		if !errors.As(err, &list) || len(list.List) != 1 || !strings.Contains(list.List[0].Text, "SLACK_CHANNEL is not set") {
			t.Errorf("error is %v, want just that SLACK_CHANNEL is not set", err)
		}
	})
}
