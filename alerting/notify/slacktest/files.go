package slacktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Upload is the method of a request that brings the bytes of a file.
const Upload = "upload"

const uploadPath = "/upload/v1/slacktest-secret-"

// File is a file that was shown in a thread
// (https://docs.slack.dev/messaging/working-with-files#upload).
type File struct {
	ID, Name, Title string
	Alt             string // for people who do not see it
	Thread          string // TS of the message
	Content         []byte

	length int // as announced
	shown  bool
}

// Files returns the files that are shown, in the order in which they were
// announced.
func (s *Server) Files() []File {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []File
	for _, f := range s.files {
		if f.shown {
			list = append(list, *f)
		}
	}
	return list
}

// uploadURL announces a file.
func (s *Server) uploadURL(form url.Values) (map[string]any, string) {
	n, err := strconv.Atoi(form.Get("length"))
	switch {
	case err != nil || n <= 0 || form.Get("filename") == "":
		return nil, "invalid_arguments"
	case length(form.Get("alt_txt")) > 1000:
		return nil, "alt_txt_too_large"
	}
	f := &File{ID: fmt.Sprintf("F%010d", len(s.files)+1), Name: form.Get("filename"), Alt: form.Get("alt_txt"), length: n}
	s.files = append(s.files, f)
	return map[string]any{"upload_url": s.http.URL + uploadPath + f.ID, "file_id": f.ID}, ""
}

// upload takes the bytes of a file.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := strings.TrimPrefix(r.URL.Path, uploadPath)
	k := slices.IndexFunc(s.files, func(f *File) bool { return f.ID == id })
	if k < 0 || s.files[k].Content != nil {
		http.Error(w, "no such upload", http.StatusNotFound)
		return
	}
	f := s.files[k]
	content, err := onlyPart(r.Header.Get("Content-Type"), body)
	switch {
	case err != nil:
	case len(content) != f.length:
		err = fmt.Errorf("%d bytes, %d were announced", len(content), f.length)
	case strings.HasSuffix(f.Name, ".png") && http.DetectContentType(content) != "image/png":
		err = fmt.Errorf("%s is a file of type %s", f.Name, http.DetectContentType(content))
	}
	if err != nil {
		s.violation("upload of %s: %v", f.Name, err)
		http.Error(w, "bad upload", http.StatusBadRequest)
		return
	}
	f.Content = content
	_, _ = fmt.Fprintf(w, "OK - %d", len(content))
}

// onlyPart returns the one part of a form.
func onlyPart(contentType string, body []byte) ([]byte, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("content type %q: %w", contentType, err)
	}
	form := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	part, err := form.NextPart()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(part)
	if err != nil {
		return nil, err
	}
	if _, err := form.NextPart(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one part")
	}
	return content, nil
}

// completeUpload shows a file whose bytes are there.
func (s *Server) completeUpload(form url.Values) (map[string]any, string) {
	var list []struct{ ID, Title string }
	if json.Unmarshal([]byte(form.Get("files")), &list) != nil || len(list) != 1 {
		return nil, "invalid_arguments"
	}
	k := slices.IndexFunc(s.files, func(f *File) bool { return f.ID == list[0].ID })
	if k < 0 || s.files[k].Content == nil || s.files[k].shown {
		s.violation("a file that is not there is to be shown: %v", list)
		return nil, "file_not_found"
	}
	if form.Get("channel_id") != Channel { // a name will not do
		return nil, "channel_not_found"
	}
	if parent := s.find(form.Get("thread_ts")); parent == nil || parent.Thread != "" {
		s.violation("a file is to be shown in the thread of %q, which is no message", form.Get("thread_ts"))
		return nil, "thread_not_found"
	}
	f := s.files[k]
	f.Title, f.Thread, f.shown = list[0].Title, form.Get("thread_ts"), true
	s.notify()
	return map[string]any{"files": []any{map[string]any{"id": f.ID, "title": f.Title}}}, ""
}
