package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// TestBrowser looks at the page as a person does: the incident appears without
// a reload, the check's page shows the evidence, nothing is blocked or broken.
func TestBrowser(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("NOT TESTED: the page in a browser, since chromium is not installed")
	}
	t.Parallel()
	slack := slacktest.New()
	defer slack.Close()
	tg := newTarget(t)
	dir, listen := t.TempDir(), freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), storyConfig(tg, slack, listen))
	start(t, dir, nil, "run")
	waitFor(t, 20*time.Second, "two good upgrades", func() bool { return tg.upgrades.Load() >= 2 })

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	url := "http://" + listen
	// The first call starts the browser and must not have a deadline of its own.
	do(t, ctx, chromedp.Navigate(url+"/"), chromedp.WaitVisible("h1"))
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	defer cancel()
	do(t, ctx, chromedp.Evaluate[chromedp.Void](`window.violations = 0; document.addEventListener("securitypolicyviolation", () => window.violations++)`))
	before := value(t, ctx, chromedp.Evaluate[string](`document.body.innerText`))
	tg.mode.Store("404")
	waitFor(t, 30*time.Second, "the incident in the headline", func() bool {
		return strings.Contains(value(t, ctx, chromedp.Evaluate[string](`document.querySelector("h1").innerText`)), "incident")
	})
	after := value(t, ctx, chromedp.Evaluate[string](`document.body.innerText`))
	violations := value(t, ctx, chromedp.Evaluate[int](`window.violations || 0`))
	do(t, ctx, chromedp.Navigate(url+"/checks/live"))
	check := value(t, ctx, chromedp.Evaluate[string](`document.body.innerText`))
	for _, want := range []struct{ where, text, in string }{
		{"page before", "live", before},
		{"page after", "not_found", after},
		{"check", "HTTP/1.1 404 Not Found", check},
		{"check", "curl ", check},
	} {
		if !strings.Contains(want.in, want.text) {
			t.Errorf("the %s lacks %q:\n%s", want.where, want.text, want.in)
		}
	}
	if violations > 0 {
		t.Error(fmt.Sprint(violations, " violations of the content security policy"))
	}
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) { //nolint:revive // t comes first in helpers of tests
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

func value[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T { //nolint:revive // t comes first in helpers of tests
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
