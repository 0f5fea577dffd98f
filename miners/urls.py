"""The miners' addresses that Django serves; the hot lane's are in `miners.routing`."""

from django.urls import path

from miners import installer, views

urlpatterns = [
    path("register_miner", views.RegisterMinerView.as_view(), name="register-miner"),
    path("job/result", views.ResultView.as_view(), name="submit-job-result"),
    path("miner/<int:miner_id>/status", views.MinerStatusView.as_view(), name="miner-status"),
    path("miners", views.MinerListView.as_view(), name="miners"),
    path("install.sh", installer.InstallView.as_view(), name="miner-installer"),
    path("miner.tar.gz", installer.ArchiveView.as_view(), name="miner-archive"),
    path("miners/me", views.OwnMinerView.as_view(), name="own-miner"),
]
