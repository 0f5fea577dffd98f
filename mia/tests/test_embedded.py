"""Embedded PostgreSQL and Redis: they start, keep what they were told, survive crashes, and die with their parent."""

import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from mia.embedded import guardian
from mia.embedded.errors import EmbeddedServiceError, ServiceFailed
from mia.embedded.postgres import Postgres, unprivileged_identity
from mia.embedded.processes import OURSELVES, Identity, Stage, rotate, spawn, tail
from mia.embedded.redis import Redis
from mia.embedded.sockets import LONGEST_SOCKET_NAME, LONGEST_SOCKET_PATH, make_private, socket_directory

HOLDER = """
import sys, time
from pathlib import Path
from mia.embedded.postgres import Postgres
from mia.embedded.redis import Redis
servers = [Postgres(Path(sys.argv[1]), durable=False), Redis(Path(sys.argv[1]))]
for server in servers:
    server.start()
print(*(server.child.pid for server in servers), flush=True)
time.sleep(600)
"""


def wait_until_gone(pids: list[int], timeout_s: float = 20) -> list[int]:
    _gone, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=timeout_s)
    return [process.pid for process in alive if process.status() != psutil.STATUS_ZOMBIE]


class TestPostgres:
    """The database server."""

    def test_application_role_is_bound_by_row_security_and_owns_its_database(self, own_postgres: Postgres) -> None:
        with psycopg.connect(own_postgres.url) as connection:
            row = connection.execute(
                "SELECT rolsuper, rolbypassrls, rolcreatedb, datdba = pg_roles.oid FROM pg_roles, pg_database"
                " WHERE rolname = current_user AND datname = current_database()"
            ).fetchone()
        assert row == (False, False, True, True)

    def test_vectors_work_in_the_database_and_in_one_made_by_the_role(self, own_postgres: Postgres) -> None:
        with psycopg.connect(own_postgres.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE test_mia")
            assert connection.execute("SELECT '[3,4]'::vector <-> '[0,0]'").fetchone() == (5.0,)
        with psycopg.connect(own_postgres.url, dbname="test_mia") as connection:
            assert connection.execute("SELECT '[3,4]'::vector <-> '[0,0]'").fetchone() == (5.0,)

    def test_committed_rows_survive_a_crash(self, own_postgres: Postgres) -> None:
        with psycopg.connect(own_postgres.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        own_postgres.crash()
        own_postgres.start()
        with psycopg.connect(own_postgres.url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)

    def test_up_is_durable_and_tests_are_not(self, own_postgres: Postgres, tmp_path: Path) -> None:
        volatile = Postgres(tmp_path, durable=False, max_connections=20)
        volatile.start()
        try:
            for server, expected in ((own_postgres, "on"), (volatile, "off")):
                with psycopg.connect(server.url) as connection:
                    assert connection.execute("SHOW fsync").fetchone() == (expected,)
        finally:
            volatile.stop()

    def test_nothing_listens_on_a_port(self, own_postgres: Postgres) -> None:
        assert own_postgres.child is not None
        assert psutil.Process(own_postgres.child.pid).net_connections("inet") == []

    def test_socket_is_closed_to_other_users(self, own_postgres: Postgres) -> None:
        assert own_postgres.sockets.stat().st_mode & 0o077 == 0

    def test_stale_pid_file_of_a_reused_process_number_is_ignored(self, own_postgres: Postgres) -> None:
        own_postgres.crash()
        (own_postgres.data / "postmaster.pid").write_text(f"{os.getpid()}\n{own_postgres.data}\n")
        own_postgres.start()
        assert own_postgres.answers()

    def test_running_postmaster_is_never_doubled(self, own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mia.embedded.postgres.ORPHAN_TIMEOUT_S", 0.2)
        assert own_postgres.child is not None
        with pytest.raises(EmbeddedServiceError, match=f"kill -INT {own_postgres.child.pid}"):
            Postgres(own_postgres.state).start()
        assert own_postgres.answers()

    def test_interrupted_initdb_is_begun_again(self, tmp_path: Path) -> None:
        server = Postgres(tmp_path, durable=False, max_connections=20)
        (tmp_path / "postgres.new" / "base").mkdir(parents=True)
        server.start()
        try:
            assert server.answers()
        finally:
            server.stop()

    def test_failure_to_start_shows_the_log(self, own_postgres: Postgres) -> None:
        own_postgres.stop()
        with (own_postgres.data / "postgresql.conf").open("a") as file:
            file.write("no_such_setting = 1\n")
        with pytest.raises(ServiceFailed, match="no_such_setting"):
            own_postgres.start()

    def test_state_directory_with_a_long_path_works(self, tmp_path: Path) -> None:
        server = Postgres(tmp_path / ("d" * 100), durable=False, max_connections=20)
        server.start()
        try:
            assert server.answers()
            assert len(str(server.sockets)) < LONGEST_SOCKET_PATH
        finally:
            server.stop()

    @pytest.mark.skipif(os.geteuid() != 0, reason="root only: others run it as themselves")
    def test_root_runs_it_as_nobody_or_in_a_user_namespace(self, own_postgres: Postgres) -> None:
        assert own_postgres.child is not None
        nobody = pwd.getpwnam("nobody").pw_uid
        uid_map = Path(f"/proc/{own_postgres.child.pid}/uid_map").read_text().split()
        assert psutil.Process(own_postgres.child.pid).uids().real == nobody or uid_map == [str(nobody), "0", "1"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="root only: others run it as themselves")
    def test_cluster_changes_owner_when_nobody_no_longer_reaches_it(self, tmp_path: Path) -> None:
        open_to_all = Path("/var/tmp") / f"mia-owner-{os.getpid()}"
        open_to_all.mkdir(mode=0o755)
        try:
            for mode, prefix in ((0o755, ()), (0o700, ("unshare",))):
                open_to_all.chmod(mode)
                assert unprivileged_identity(open_to_all).prefix[:1] == prefix
                server = Postgres(open_to_all, durable=False, max_connections=20)
                server.start()
                server.stop()
        finally:
            subprocess.run(["rm", "-rf", open_to_all], check=True)


class TestRedis:
    """The wake-up server."""

    def test_writes_older_than_a_second_survive_a_crash(self, own_redis: Redis) -> None:
        with own_redis.client() as client:
            client.set("mia:kept", "yes")
        time.sleep(1.3)
        own_redis.crash()
        own_redis.start()
        with own_redis.client() as client:
            assert client.get("mia:kept") == b"yes"

    def test_it_never_evicts_and_listens_on_no_port(self, own_redis: Redis) -> None:
        assert own_redis.child is not None
        with own_redis.client() as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert psutil.Process(own_redis.child.pid).net_connections("inet") == []

    def test_broken_append_only_file_shows_the_log(self, own_redis: Redis) -> None:
        own_redis.stop()
        for file in own_redis.data.glob("appendonlydir/*.manifest"):
            file.write_text("nonsense\n")
        with pytest.raises(ServiceFailed, match="manifest"):
            own_redis.start()


class TestSockets:
    """Socket paths."""

    def test_short_state_keeps_its_sockets_beside_the_data(self) -> None:
        assert socket_directory(Path("/srv/mia/.mia"), "redis") == Path("/srv/mia/.mia/run/redis")

    def test_long_state_gets_a_short_directory_of_its_own(self) -> None:
        first, second = (socket_directory(Path("/srv") / (letter * 120), "postgres") for letter in "ab")
        assert first != second
        assert len(str(first)) + LONGEST_SOCKET_NAME <= LONGEST_SOCKET_PATH

    def test_link_in_place_of_the_directory_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(EmbeddedServiceError, match="belongs to somebody else"):
            make_private(tmp_path / "run", OURSELVES)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
    def test_directory_of_another_user_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        os.chown(tmp_path / "run", 12345, 12345)
        with pytest.raises(EmbeddedServiceError, match="belongs to somebody else"):
            make_private(tmp_path / "run", Identity(uid=65534, gid=65534))


class TestChildren:
    """Processes that we start."""

    def start(self, tmp_path: Path, script: str) -> tuple[Path, object]:
        log = tmp_path / "child.log"
        return log, spawn(["sh", "-c", script], log=log, env={"PATH": os.defpath}, stage=Stage.PROGRAM)

    def test_stop_ends_everything_the_child_started(self, tmp_path: Path) -> None:
        log, child = self.start(
            tmp_path, "trap '' TERM; setsid -w true; sh -c 'trap \"\" TERM; sleep 300' & echo $!; wait"
        )
        while not (lines := tail(log)):
            time.sleep(0.01)
        child.stop(0.2)
        assert child.exit_code() == -signal.SIGKILL
        assert wait_until_gone([child.pid, int(lines[0])]) == []

    def test_log_is_kept_once_over_when_it_is_full(self, tmp_path: Path) -> None:
        log = tmp_path / "web.log"
        log.write_bytes(b"x" * (5 * 1024 * 1024 + 1))
        rotate(log)
        assert not log.exists()
        assert (tmp_path / "web.log.1").stat().st_size > 5 * 1024 * 1024

    def test_tail_of_a_missing_log_is_empty(self, tmp_path: Path) -> None:
        assert tail(tmp_path / "none.log") == []

    def test_members_of_a_session_include_groups_made_inside_it(self, tmp_path: Path) -> None:
        script = "import os, sys; os.setpgid(0, 0); print(os.getpid(), flush=True); sys.stdin.read()"
        leader = subprocess.Popen(
            ["sh", "-c", f'{sys.executable} -c "{script}"; true'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert leader.stdout is not None
        inner = int(leader.stdout.readline())
        try:
            assert set(guardian.members(leader.pid)) == {leader.pid, inner}
        finally:
            leader.communicate()


class TestScratch:
    """`python -m mia.embedded.scratch`."""

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mia.embedded.scratch", sys.executable, "-c", script]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def test_command_runs_on_servers_that_are_gone_afterwards(self) -> None:
        script = "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL']); print(os.environ['REDIS_URL'])"
        finished = self.run(script)
        assert finished.returncode == 0, finished.stderr
        assert not Path(finished.stdout.removeprefix("unix://").split("?")[0]).parents[2].exists()

    def test_exit_status_is_the_commands(self) -> None:
        assert self.run("raise SystemExit(7)").returncode == 7


@pytest.mark.chaos
class TestParentsDeath:
    """Nothing that we start outlives us."""

    def hold(self, state: Path) -> tuple[subprocess.Popen[str], list[int]]:
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, state], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        with holder.stdout as output:
            return holder, [int(pid) for pid in output.readline().split()]

    def test_sockets_away_from_the_data_go_too(self, tmp_path: Path) -> None:
        state = tmp_path / ("d" * 100)
        state.mkdir()
        holder, pids = self.hold(state)
        directories = [socket_directory(state, service) for service in ("postgres", "redis")]
        assert all(directory.exists() for directory in directories)
        guardians = [child.pid for child in psutil.Process(holder.pid).children()]
        holder.kill()
        holder.wait()
        assert wait_until_gone([*pids, *guardians]) == []
        assert not any(directory.exists() for directory in directories)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_servers_die_with_the_process_that_started_them(self, tmp_path: Path, number: int) -> None:
        holder, pids = self.hold(tmp_path)
        family = [holder.pid, *(child.pid for child in psutil.Process(holder.pid).children(recursive=True))]
        assert len(pids) == 2
        assert set(pids) < set(family)
        holder.send_signal(number)
        holder.wait()
        assert wait_until_gone(family) == []

    def test_database_is_shut_down_cleanly_even_then(self, tmp_path: Path) -> None:
        holder, pids = self.hold(tmp_path)
        holder.kill()
        holder.wait()
        assert wait_until_gone(pids) == []
        assert any("database system is shut down" in line for line in tail(tmp_path / "logs" / "postgres.log"))

    def test_killed_test_run_leaves_no_server_and_no_directory(self, tmp_path: Path) -> None:
        (tmp_path / "test_sleep.py").write_text(
            "import os, time\n"
            "def test_sleep():\n"
            f"    open({str(tmp_path / 'urls')!r}, 'w').write(os.environ['DATABASE_URL'])\n"
            "    time.sleep(300)\n"
        )
        command = [sys.executable, "-m", "pytest", "-p", "mia.tests.fixtures", "-p", "no:django", "-p", "no:randomly"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        run = subprocess.Popen(
            [*command, "-c", "/dev/null", "--rootdir", tmp_path, tmp_path],
            env=environment | {"PYTHONPATH": os.getcwd()},
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not (tmp_path / "urls").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        family = [child.pid for child in psutil.Process(run.pid).children(recursive=True)]
        directory = Path((tmp_path / "urls").read_text().split("host=")[1]).parent.parent
        run.kill()
        run.wait()
        assert wait_until_gone(family) == []
        assert not directory.exists()
