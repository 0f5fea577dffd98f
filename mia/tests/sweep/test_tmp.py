import pytest
from mia.tests.sweep.world import *
from mia.tests.sweep import world as w
@pytest.mark.django_db(transaction=True)
def test_it():
    import time
    t=time.time()
    x = make_world()
    print("took", time.time()-t)
    print([m.__name__ for m in w.tenant_models()], [m.__name__ for m in w.visitors_models()])
    for m,r in x.b.rows.items():
        print(m.__name__, {f.attname:getattr(r,f.attname) for f in m._meta.concrete_fields})
