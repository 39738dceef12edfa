"""The viewer's web server, over real connections."""

import http.client
import json
import socket
from pathlib import Path

import pytest

from dynapoint.errors import ConfigError, InputError
from dynapoint.viewer.serving import Answer, Request, Server, json_answer


def answer(request: Request) -> Answer:
    """A small site."""
    match request.path:
        case ("echo",):
            return json_answer(
                {"query": request.query, "body": request.body.read(request.length).decode()}
            )
        case ("file", name):
            return Answer(content=Path(name.replace("|", "/")), save_as="ä b.txt")
        case ("wrong",):
            raise InputError("this is wrong; do that")
        case ("broken",):
            raise ZeroDivisionError("oh")
    return Answer(content=b"unread")


@pytest.fixture
def server():
    started = Server(answer, "127.0.0.1", 0)
    yield started
    started.close()


def ask(connection, method, path, body=None, **headers):
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response, response.read()


@pytest.fixture
def connection(server):
    host, port = server.address.removeprefix("http://").split(":")
    with_timeout = http.client.HTTPConnection(host, int(port), timeout=20)
    yield with_timeout
    with_timeout.close()


def test_one_connection_serves_many_questions(connection):
    for index in range(3):
        response, content = ask(connection, "GET", f"/echo?a={index}%20%C3%A4")
        assert response.status == 200 and not response.will_close
        assert json.loads(content) == {"query": {"a": f"{index} ä"}, "body": ""}
    response, content = ask(connection, "POST", "/echo", "body")
    assert json.loads(content)["body"] == "body"


def test_an_unread_body_is_not_taken_for_the_next_request(connection):
    response, content = ask(connection, "POST", "/", "GET /wrong HTTP/1.1\r\n\r\n")
    assert content == b"unread" and response.will_close
    assert ask(connection, "GET", "/")[1] == b"unread"


def test_what_goes_wrong_is_said_and_the_server_goes_on(connection, caplog):
    response, content = ask(connection, "GET", "/wrong")
    assert response.status == 400 and json.loads(content) == {"error": "this is wrong; do that"}
    response, content = ask(connection, "GET", "/broken")
    assert response.status == 500 and "ZeroDivisionError" in json.loads(content)["error"]
    assert "broken" in caplog.text
    response, _ = ask(connection, "GET", "/file/|nowhere")
    assert response.status == 404
    assert ask(connection, "GET", "/")[0].status == 200


def test_files_are_sent_whole_under_their_names(connection, tmp_path):
    (tmp_path / "f").write_bytes(bytes(range(256)) * 9000)
    response, content = ask(connection, "GET", "/file/" + str(tmp_path / "f").replace("/", "|"))
    assert content == bytes(range(256)) * 9000
    assert "filename*=UTF-8''%C3%A4%20b.txt" in response.headers["Content-Disposition"]


def test_pages_of_others_are_refused(connection):
    """A page elsewhere can name this machine as its own host, or send it what it likes."""
    assert ask(connection, "GET", "/", Host="evil.example:80")[0].status == 403
    connection.close()
    assert ask(connection, "POST", "/echo", "x", Origin="http://evil.example")[0].status == 403
    connection.close()
    port = connection.port
    for host in ("localhost", "127.0.0.1"):
        own = {"Host": f"{host}:{port}", "Origin": f"http://{host}:{port}"}
        assert ask(connection, "POST", "/echo", "x", **own)[0].status == 200
        connection.close()


def test_pages_of_others_may_link_here_but_not_use_what_is_here(connection):
    for site, mode, status in (
        *(("cross-site", "no-cors", 403), ("same-site", "cors", 403)),
        *(("cross-site", "navigate", 200), ("same-origin", "cors", 200), ("none", "navigate", 200)),
    ):
        marks = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        assert ask(connection, "GET", "/", **marks)[0].status == status
        connection.close()
    marks = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(connection, "POST", "/", "a=1", **marks)[0].status == 403


@pytest.mark.parametrize("length", ["-5", "²", "9" * 5000, "", "1e3"])
def test_bodies_of_unknown_length_are_refused(connection, length):
    marks = {"Content-Length": length.encode("latin-1")}
    assert ask(connection, "POST", "/echo", None, **marks)[0].status == 411


def test_requests_that_make_no_sense_are_answered(connection):
    # The server refuses by the head alone: a body sent after that could meet a closed connection.
    connection.putrequest("POST", "/")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()
    for host in ("[", "", "a:b:c", "[::1"):
        assert ask(connection, "GET", "/", Host=host)[0].status == 403, host
        connection.close()
    for path in ("//[", "/%", "/?%ff=%", "/\\..\\x"):
        assert ask(connection, "GET", path)[0].status == 200, path


def test_a_port_that_cannot_be_had_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} .* --port"):
            Server(answer, "127.0.0.1", port)
    for bad in (-1, 70000):
        with pytest.raises(ConfigError, match="65535"):
            Server(answer, "127.0.0.1", bad)
    with pytest.raises(ConfigError, match="--port"):
        Server(answer, "no.such.host.invalid", 0)
