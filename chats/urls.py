"""The addresses of chats that Django serves, as the protocol writes them: without a slash at the end."""

from django.urls import path

from chats import pages, views
from chats.openai_api import views as openai_api

urlpatterns = [
    path("chat", views.ChatView.as_view(), name="chat"),
    path("chat/config", views.ConfigView.as_view(), name="chat-config"),
    path("chat/<uuid:session_id>/messages", views.MessagesView.as_view(), name="chat-messages"),
    path("chat/<uuid:session_id>/feedback", views.FeedbackView.as_view(), name="chat-feedback"),
    path("chat/<uuid:session_id>/lead", views.LeadView.as_view(), name="chat-lead"),
    path("chat/<uuid:session_id>/handoff", views.HandoffView.as_view(), name="chat-handoff"),
    path("chat/<uuid:session_id>/csat", views.RatingView.as_view(), name="chat-csat"),
    path("chat/<uuid:session_id>/typing", views.TypingView.as_view(), name="chat-typing"),
    path("chat/<uuid:session_id>/stream_token", views.StreamTokenView.as_view(), name="chat-stream-token"),
    path("job/<uuid:job_id>/result", views.JobResultView.as_view(), name="job-result"),
    path("job/<uuid:job_id>", views.JobView.as_view(), name="job"),
    path("v1/chat/completions", openai_api.CompletionsView.as_view(), name="v1-completions"),
    path("v1/embeddings", openai_api.EmbeddingsView.as_view(), name="v1-embeddings"),
    path("v1/models", openai_api.ModelsView.as_view(), name="v1-models"),
    path("v1/models/<path:model>", openai_api.ModelView.as_view(), name="v1-model"),
    path("widget.js", pages.WidgetView.as_view(), name="widget"),
    path("demo/", pages.DemoView.as_view(), name="demo"),
]
