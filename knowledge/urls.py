"""The addresses of training, without a slash at the end."""

from django.urls import path

from knowledge import views

urlpatterns = [
    path("api/training/queue", views.QueueView.as_view(), name="training-queue"),
    path("api/training/delete/<uuid:source_id>", views.DeleteView.as_view(), name="training-delete"),
    path("api/training/sources", views.SourcesView.as_view(), name="training-sources"),
    path("api/training/jobs/<uuid:training_job_id>", views.JobView.as_view(), name="training-job"),
    path("api/training/upload/init", views.UploadInitView.as_view(), name="training-upload-init"),
    path("api/training/upload/finalize", views.UploadFinalizeView.as_view(), name="training-upload-finalize"),
    path("api/training/upload/<uuid:file_id>", views.UploadView.as_view(), name="training-upload"),
]
