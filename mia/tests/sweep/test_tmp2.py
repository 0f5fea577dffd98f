import time

import pytest

from mia.tests.sweep.admin_site import AdminSweep
from mia.tests.sweep.asgi import run
from mia.tests.sweep.judge import Judge
from mia.tests.sweep.rows import watching
from mia.tests.sweep.world import make_world


@pytest.mark.django_db(transaction=True)
def test_it():
    t = time.time()
    import collections

    c = collections.Counter()
    n = collections.Counter()
    u = collections.Counter()
    x = make_world()
    with watching(x) as w:
        j = Judge(w)
        s = AdminSweep(x, j)
        old = s.visit

        async def visit(o, i):
            t0 = time.process_time()
            a = s.answers
            t1 = time.time()
            await old(o, i)
            k = o.name + " " + i.name
            c[k] += time.process_time() - t0
            n[k] += s.answers - a
            u[k] += time.time() - t1

        s.visit = visit

        async def sc():
            await s.run()

        run(sc)
    print("took", time.time() - t, s.answers)
    print(chr(10).join(j.findings))
    for k, v in c.most_common(20):
        print(k, round(v, 2), round(u[k], 1), n[k])
