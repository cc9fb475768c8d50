"""Whisper on this machine, behind the part of OpenAI's HTTP API that goto-automation asks:

POST /v1/audio/transcriptions   file, model, response_format (json, text, verbose_json), language, prompt
GET  /v1/models                 the names that `model` may have
GET  /health                    answers once the model is loaded

For development: it listens on loopback only, wants no key, and transcribes one file at a time while others wait.
Started by scripts/local-speech.sh, which installs faster-whisper; this file alone needs the standard library."""

import argparse
import email.parser
import email.utils
import io
import json
import math
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import weights

HOST, PORT = "127.0.0.1", 8790
# Under this name of OpenAI's clients ask for times (verbose_json), so it is served whatever the model.
COMMON_NAME = "whisper-1"
# As at OpenAI: the whole body counts.
MAX_UPLOAD = 25 * 1024 * 1024
MAX_FIELDS = 32
MAX_FIELD_HEAD = 8 * 1024
# Seconds that a client may be silent while it sends or reads.
PATIENCE = 60
RATE = 16_000
SHORTEST_SECONDS = 0.1
FORMATS = ("json", "text", "verbose_json")
# How the files begin that are handed to the decoder: bytes at an offset. All else, such as a playlist that would make
# the decoder open other files, is refused unread.
SIGNATURES = [(8, b"WAVE"), (0, b"ID3"), (0, b"OggS"), (0, b"fLaC"), (4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3")]
SIGNATURES += [(0, bytes([0xFF, second])) for second in (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB)]  # MP3 without a tag
BAD_FILE = "Invalid file format. Supported formats: ['flac', 'm4a', 'mp3', 'mp4', 'mpga', 'oga', 'ogg', 'wav', 'webm']"


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status, message, param=None, code=None):
        super().__init__(message)
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Whisper:
    """The model. `language` is taken for every file whose request names none; None = listen and guess."""

    def __init__(self, name, folder, language=None):
        import faster_whisper

        self.name = name
        self.decode = faster_whisper.decode_audio
        self.model = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="int8")
        self.languages = self.model.supported_languages
        self.language = language or (self.languages[0] if len(self.languages) == 1 else None)
        self.turn = threading.Lock()

    def hear(self, file, language, prompt):
        """What is said in an audio file, as the body of a verbose_json answer."""
        if not any(file.startswith(signature, offset) for offset, signature in SIGNATURES):
            raise Refusal(400, BAD_FILE, "file")
        if language and language not in self.languages:
            raise Refusal(400, f"Language '{language}' is not known to {self.name}.", "language", "invalid_value")
        with self.turn:
            try:
                samples = self.decode(io.BytesIO(file), sampling_rate=RATE)
            except Exception as error:  # of many classes: what the decoder cannot read is no audio
                raise Refusal(400, BAD_FILE, "file") from error
            seconds = len(samples) / RATE
            if seconds < SHORTEST_SECONDS:
                text = f"Audio file is too short. Minimum audio length is {SHORTEST_SECONDS} seconds."
                raise Refusal(400, text, "file", "audio_too_short")
            # The callers cut at silence themselves, so no voice filter. Without temperatures to fall back to, the same
            # file always gets the same answer.
            segments, info = self.model.transcribe(
                samples, language=language or self.language, initial_prompt=prompt, beam_size=5, temperature=0.0,
                condition_on_previous_text=False, vad_filter=False)
            segments = [segment_body(number, segment) for number, segment in enumerate(segments)]
        return {
            "task": "transcribe",
            "language": info.language,
            "duration": round(seconds, 3),
            "text": "".join(segment["text"] for segment in segments).strip(),
            "segments": segments,
            "usage": {"type": "duration", "seconds": math.ceil(seconds)},
        }


def segment_body(number, segment):
    names = ("seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio",
             "no_speech_prob")
    return {"id": number, **{name: getattr(segment, name) for name in names}}


def read_form(headers, body):
    """The fields of a multipart/form-data body (RFC 7578) as bytes by name; of two with one name the last counts."""
    boundary = headers.get_boundary()
    if headers.get_content_type() != "multipart/form-data" or not boundary:
        raise Refusal(400, "The body has to be multipart/form-data with a boundary.")
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    _, *sections = (b"\r\n" + body).split(delimiter, MAX_FIELDS + 1)
    fields = {}
    for section in sections:
        if section.startswith(b"--"):
            return fields
        head, blank_line, value = section.partition(b"\r\n\r\n")
        if not blank_line or len(head) > MAX_FIELD_HEAD:
            break
        disposition = email.parser.BytesHeaderParser().parsebytes(head.lstrip(b" \t\r\n"))
        name = disposition.get_param("name", header="content-disposition")
        if name is None:
            break
        fields[email.utils.collapse_rfc2231_value(name)] = value
    raise Refusal(400, f"The multipart body is broken off, malformed, or of more than {MAX_FIELDS} fields.")


def transcription(whisper, fields):
    """The answer to a form: media type and body."""
    def text_of(name):
        return fields.get(name, b"").decode("utf-8", "replace").strip()

    for name in ("file", "model"):
        if not fields.get(name):
            raise Refusal(400, f"You must provide a {name}.", name)
    if text_of("model") not in (COMMON_NAME, whisper.name):
        message = f"The model '{text_of('model')}' is not served here; '{COMMON_NAME}' and '{whisper.name}' are."
        raise Refusal(404, message, "model", "model_not_found")
    form = text_of("response_format") or "json"
    if form not in FORMATS:
        message = f"response_format '{form}' is not supported; {', '.join(FORMATS)} are."
        raise Refusal(400, message, "response_format", "unsupported_value")
    if text_of("timestamp_granularities[]") not in ("", "segment"):
        raise Refusal(400, "Only times of segments are supported.", "timestamp_granularities", "unsupported_value")
    heard = whisper.hear(fields["file"], text_of("language").lower() or None, text_of("prompt") or None)
    if form == "text":
        return "text/plain; charset=utf-8", (heard["text"] + "\n").encode()
    if form == "json":
        heard = {"text": heard["text"], "languages": [{"code": heard["language"]}], "usage": heard["usage"]}
    return "application/json", json.dumps(heard).encode()


def models(whisper):
    names = (COMMON_NAME, whisper.name)
    return {"object": "list", "data": [{"id": n, "object": "model", "created": 0, "owned_by": "local"} for n in names]}


class Handler(BaseHTTPRequestHandler):
    """One connection. `whisper` is set by `serve`."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    whisper = None

    def log_error(self, *_):
        """Nothing: answers are logged with their status, and a client that holds its connection idle is no error."""

    def do_GET(self):
        if self.path == "/health":
            self.answer_json(200, {"status": "ok", "model": self.whisper.name})
        elif self.path == "/v1/models":
            self.answer_json(200, models(self.whisper))
        else:
            self.answer_json(404, Refusal(404, f"There is nothing at {self.path}.").body)

    def do_POST(self):
        began = time.monotonic()
        try:
            if self.path != "/v1/audio/transcriptions":
                raise Refusal(404, f"There is nothing to post to at {self.path}.")
            fields = read_form(self.headers, self.read_body())
            answer = transcription(self.whisper, fields)
            self.log_message("transcribed in %.1f s", time.monotonic() - began)
            self.answer(200, *answer)
        except Refusal as refusal:
            # The body may not have been read, so nothing else can come over this connection.
            self.close_connection = True
            self.answer_json(refusal.status, refusal.body)
        except OSError:
            self.close_connection = True  # the client went away
        except Exception:
            traceback.print_exc()
            self.close_connection = True
            self.answer_json(500, Refusal(500, "The transcription failed; the terminal of the server says why.").body)

    def read_body(self):
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise Refusal(411, "The request needs a Content-Length.")
        if int(length) > MAX_UPLOAD:
            self.discard(int(length))
            raise Refusal(413, f"Maximum content size limit ({MAX_UPLOAD}) exceeded ({length} bytes announced)")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionError("broken off")
        return body

    def discard(self, length):
        """Reads on for a while: to a client that is still sending, a closed connection would hide the answer."""
        left = min(length, 4 * MAX_UPLOAD)
        while left > 0:
            read = len(self.rfile.read(min(left, 65_536)))
            left = left - read if read else 0

    def answer_json(self, status, body):
        self.answer(status, "application/json", json.dumps(body).encode())

    def answer(self, status, media_type, body):
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def serve(whisper, port=PORT):
    """A server that answers once `serve_forever` is called."""
    handler = type("Handler", (Handler,), {"whisper": whisper})
    return ThreadingHTTPServer((HOST, port), handler)


def check():
    """Whether the server answers."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{PORT}/health", timeout=5) as answer:
            model = json.load(answer)["model"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SystemExit(f"No local speech server answers at http://{HOST}:{PORT}. Start it in another terminal with "
                         "`make local-speech`, and wait until it says that it listens.") from None
    print(f"Speech: Whisper {model} on this machine.")


def main():
    parser = argparse.ArgumentParser(description="Whisper on this machine, behind OpenAI's API.")
    parser.add_argument("--model", choices=sorted(weights.MODELS), default="base",
                        help="base knows 99 languages (default); tiny.en is faster, knows English, and errs more")
    parser.add_argument("--language", metavar="CODE",
                        help="such as en or de; base guesses it for each file unless told")
    parser.add_argument("--weights", metavar="DIR", default="target/local-speech/models", help="keeps the weights")
    parser.add_argument("--check", action="store_true", help="only say whether a server runs")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    folder = weights.fetch(arguments.model, arguments.weights)
    whisper = Whisper(arguments.model, folder, arguments.language)
    if arguments.language and arguments.language not in whisper.languages:
        parser.error(f"Whisper {whisper.name} does not know the language {arguments.language}")
    try:
        server = serve(whisper)
    except OSError as error:
        raise SystemExit(f"Cannot listen on {HOST}:{PORT} ({error.strerror}). Is it running already?") from None
    print(f"Whisper {whisper.name} listens on http://{HOST}:{PORT}/v1. In another terminal: make dev SPEECH=local\n"
          "Ctrl-C stops it.", flush=True)
    with server:
        server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
