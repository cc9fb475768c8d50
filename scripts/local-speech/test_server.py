"""What the server answers, with a stand-in for the model. `python3 -m unittest discover scripts/local-speech`: needs
the standard library only."""

import http.client
import json
import threading
import unittest
import unittest.mock

import score
import server


class Deaf(server.Whisper):
    """Whisper without a model: the bytes after the signature are what it hears."""

    def __init__(self):
        self.name = "base"

    def hear(self, file, language, prompt):
        if not file.startswith(b"RIFF"):
            raise server.Refusal(400, server.BAD_FILE, "file")
        return {"language": language or "en", "duration": 1.0, "text": file[4:].decode("latin-1"), "segments": [],
                "usage": {"type": "duration", "seconds": 1}}


class Silent(server.Handler):
    def log_message(self, *_):
        """Nothing."""


def form(boundary="b", **fields):
    """A multipart body."""
    parts = []
    for name, value in fields.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="x.wav"\r\n\r\n'
        parts.append(head.encode() + value + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


class ServerTest(unittest.TestCase):
    def setUp(self):
        silence = unittest.mock.patch.object(server, "Handler", Silent)
        silence.start()
        self.addCleanup(silence.stop)
        self.server = server.serve(Deaf(), port=0)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def ask(self, body=None, path="/v1/audio/transcriptions", **headers):
        connection = http.client.HTTPConnection(*self.server.server_address, timeout=10)
        self.addCleanup(connection.close)
        headers = {"Content-Type": "multipart/form-data; boundary=b", **headers}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def refused(self, body, **headers):
        status, answer = self.ask(body, **headers)
        error = json.loads(answer)["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        return status, error["param"], error["code"]

    def test_it_tells_what_it_serves(self):
        self.assertEqual(json.loads(self.ask(path="/health")[1]), {"status": "ok", "model": "base"})
        served = json.loads(self.ask(path="/v1/models")[1])["data"]
        self.assertEqual([model["id"] for model in served], ["whisper-1", "base"])
        self.assertEqual(self.ask(path="/")[0], 404)

    def test_the_three_formats(self):
        fields = {"file": b"RIFFhello", "model": b"whisper-1"}
        status, plain = self.ask(form(**fields))
        self.assertEqual((status, json.loads(plain)["text"]), (200, "hello"))
        self.assertNotIn("segments", json.loads(plain))
        self.assertIn("segments", json.loads(self.ask(form(**fields, response_format=b"verbose_json"))[1]))
        self.assertEqual(self.ask(form(**fields, response_format=b"text")), (200, b"hello\n"))

    def test_a_file_comes_through_as_it_is(self):
        sound = b"RIFF" + bytes(range(256)) + b"\r\n\r\n--\r\n--a\r--b\n"
        status, heard = self.ask(form(file=sound, model=b"base"))
        self.assertEqual((status, json.loads(heard)["text"].encode("latin-1")), (200, sound[4:]))

    def test_refusals_in_the_form_of_openai(self):
        fine = {"file": b"RIFF1", "model": b"base"}
        self.assertEqual(self.refused(form(model=b"base")), (400, "file", None))
        self.assertEqual(self.refused(form(file=b"RIFF1")), (400, "model", None))
        self.assertEqual(self.refused(form(file=b"#EXTM3U", model=b"base")), (400, "file", None))
        self.assertEqual(self.refused(form(file=b"RIFF1", model=b"gpt-x")), (404, "model", "model_not_found"))
        self.assertEqual(self.refused(form(**fine, response_format=b"srt")),
                         (400, "response_format", "unsupported_value"))
        self.assertEqual(self.refused(form(**fine) + b"x", **{"Content-Type": "text/plain"}), (400, None, None))
        self.assertEqual(self.refused(b"", **{"Content-Length": "x"}), (411, None, None))

    def test_broken_forms(self):
        whole = form(file=b"RIFF1", model=b"base")
        for body in (b"", b"--b", whole[:-6], whole.replace(b"name=", b"nome="), form(boundary="c", file=b"RIFF1"),
                     form(**{f"field{n}": b"" for n in range(server.MAX_FIELDS + 1)}), b"--b\r\n" * 100_000):
            self.assertEqual(self.refused(body), (400, None, None))

    def test_too_much_is_refused(self):
        self.assertEqual(self.refused(bytes(server.MAX_UPLOAD + 1)), (413, None, None))


class ScoreTest(unittest.TestCase):
    def test_numbers_count_by_digit(self):
        for said, heard in [("four four one seven", "4-4-1-7"), ("twenty twenty seven", "2027"), ("at ten", "at 10"),
                            ("March fifteenth", "March 15th"), ("The computers!", "the computer's")]:
            self.assertEqual(score.words(said), score.words(heard))

    def test_alignment(self):
        self.assertEqual(score.align(["a", "b", "c"], ["a", "x", "c", "d"]),
                         [("a", "a"), ("b", "x"), ("c", "c"), (None, "d")])

    def test_words_of_the_other_speaker(self):
        self.assertEqual(score.misplaced({"agent": ["a", "b"], "customer": ["c"]}, {"agent": ["a", "b", "c"]}), 1)
        self.assertEqual(score.misplaced({"agent": ["a", "b"]}, {"agent": ["a", "x"]}), 0)


if __name__ == "__main__":
    unittest.main()
