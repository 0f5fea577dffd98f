"""Users, businesses and what belongs to them, behind row-level security from the first row."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import accounts.models
from mia.lib.migrations import ForceRowSecurity, UniquePair


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="User",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "email",
                    models.EmailField(
                        error_messages={"unique": "Somebody already uses this address."},
                        max_length=254,
                        unique=True,
                        verbose_name="e-mail",
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=150, verbose_name="name")),
                ("is_staff", models.BooleanField(default=False, verbose_name="may open the admin")),
                (
                    "is_active",
                    models.BooleanField(
                        default=True, help_text="Untick instead of deleting the person.", verbose_name="active"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                ),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "ordering": ["email"],
            },
        ),
        migrations.CreateModel(
            name="Business",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200, verbose_name="name")),
                ("contact_email", models.EmailField(blank=True, max_length=254, verbose_name="contact e-mail")),
                ("contact_phone", models.CharField(blank=True, max_length=40, verbose_name="contact phone")),
                (
                    "locale",
                    models.CharField(
                        default="en",
                        help_text="Of the business itself, such as en or de-CH.",
                        max_length=16,
                        verbose_name="language",
                    ),
                ),
                (
                    "time_zone",
                    models.CharField(
                        default="UTC",
                        max_length=64,
                        validators=[accounts.models.check_time_zone],
                        verbose_name="time zone",
                    ),
                ),
                (
                    "retention_days",
                    models.PositiveIntegerField(
                        default=365,
                        help_text="Days after the last message; then conversations are erased.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(3650),
                        ],
                        verbose_name="keep conversations for",
                    ),
                ),
                (
                    "min_trust",
                    models.SmallIntegerField(
                        choices=[
                            (0, "Any miner, even on probation"),
                            (1, "Verified miners"),
                            (2, "Trusted miners only"),
                        ],
                        default=1,
                        help_text="The least trust a miner needs before it is sent a conversation of this business.",
                        verbose_name="who may read customers' words",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                ),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
            ],
            options={
                "verbose_name_plural": "businesses",
                "ordering": ["name", "id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("min_trust__in", [0, 1, 2])), name="business_trust_demand_is_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("retention_days__gte", 1)),
                        name="business_keeps_conversations_at_least_a_day",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("actor_label", models.CharField(max_length=255, verbose_name="who")),
                ("actor_user_id", models.BigIntegerField(blank=True, null=True)),
                ("actor_key_id", models.BigIntegerField(blank=True, null=True)),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("created", "Created"),
                            ("changed", "Changed"),
                            ("deleted", "Deleted"),
                            ("revoked", "Revoked"),
                            ("invited", "Invited"),
                            ("joined", "Joined"),
                            ("erased", "Erased"),
                            ("performed", "Performed"),
                        ],
                        max_length=40,
                        verbose_name="did",
                    ),
                ),
                ("target_type", models.CharField(max_length=100, verbose_name="what")),
                ("target_id", models.CharField(blank=True, max_length=64)),
                ("target_label", models.CharField(blank=True, max_length=255, verbose_name="which")),
                ("changes", models.JSONField(blank=True, default=dict, verbose_name="changes")),
                ("request_id", models.CharField(blank=True, max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="when"),
                ),
                (
                    "business",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.business",
                    ),
                ),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit trail",
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("publishable", "Publishable (widget)"),
                            ("secret", "Secret (business server)"),
                            ("client", "Client (API and idle jobs)"),
                        ],
                        max_length=12,
                        verbose_name="kind",
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        help_text="Where the key is used, so that you can tell them apart.",
                        max_length=100,
                        verbose_name="name",
                    ),
                ),
                ("prefix", models.CharField(db_index=True, editable=False, max_length=16, verbose_name="begins with")),
                ("digest", models.CharField(editable=False, max_length=64)),
                (
                    "allowed_origins",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=255),
                        blank=True,
                        default=list,
                        help_text="Pages that may use a publishable key, one per line, such as https://shop.example.",
                        size=None,
                        verbose_name="allowed origins",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                ),
                ("last_used_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last used")),
                ("expires_at", models.DateTimeField(blank=True, null=True, verbose_name="expires")),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="revoked")),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="made by",
                    ),
                ),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("email", models.EmailField(max_length=254, verbose_name="e-mail")),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "Owner"), ("admin", "Admin"), ("agent", "Agent"), ("viewer", "Viewer")],
                        default="agent",
                        max_length=10,
                        verbose_name="role",
                    ),
                ),
                ("token_digest", models.CharField(db_index=True, editable=False, max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="sent"),
                ),
                ("expires_at", models.DateTimeField(verbose_name="valid until")),
                ("accepted_at", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="accepted")),
                (
                    "accepted_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
                (
                    "invited_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="invited by",
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="JwtIssuer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "issuer",
                    models.CharField(
                        help_text="The iss claim, compared exactly.", max_length=255, verbose_name="issuer"
                    ),
                ),
                (
                    "audience",
                    models.CharField(
                        help_text="The aud claim, compared exactly.", max_length=255, verbose_name="audience"
                    ),
                ),
                ("public_key_pem", models.TextField(blank=True, verbose_name="public key (PEM)")),
                ("jwks_url", models.URLField(blank=True, max_length=500, verbose_name="JWKS address")),
                ("active", models.BooleanField(default=True, verbose_name="active")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                ),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
            ],
            options={
                "verbose_name": "token issuer",
                "ordering": ["issuer"],
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "Owner"), ("admin", "Admin"), ("agent", "Agent"), ("viewer", "Viewer")],
                        default="agent",
                        max_length=10,
                        verbose_name="role",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="since"),
                ),
                (
                    "business",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="accounts.business", verbose_name="business"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="person",
                    ),
                ),
            ],
            options={
                "verbose_name": "member",
                "ordering": ["business_id", "user__email"],
            },
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("email", django.db.models.functions.text.Lower("email"))),
                name="user_email_is_lower_case",
            ),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["business", "-created_at"], name="audit_of_a_business_by_time"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["business", "target_type", "target_id"], name="audit_of_one_target"),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.UniqueConstraint(
                fields=("business", "prefix"), name="api_key_prefix_is_unique_in_its_business"
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["publishable", "secret", "client"])),
                name="api_key_kind_is_held_by_businesses",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind", "publishable"), ("allowed_origins", []), _connector="OR"),
                name="api_key_with_origins_is_publishable",
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("accepted_at__isnull", True)),
                fields=("business", "email"),
                name="invitation_waits_once_per_address",
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.CheckConstraint(
                condition=models.Q(("role__in", ["owner", "admin", "agent", "viewer"])), name="invitation_role_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.CheckConstraint(
                condition=models.Q(("email", django.db.models.functions.text.Lower("email"))),
                name="invitation_email_is_lower_case",
            ),
        ),
        migrations.AddConstraint(
            model_name="jwtissuer",
            constraint=models.UniqueConstraint(
                fields=("business", "issuer"), name="jwt_issuer_is_named_once_per_business"
            ),
        ),
        migrations.AddConstraint(
            model_name="jwtissuer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("public_key_pem", ""), models.Q(("jwks_url", ""), _negated=True)),
                    models.Q(models.Q(("public_key_pem", ""), _negated=True), ("jwks_url", "")),
                    _connector="OR",
                ),
                name="jwt_issuer_has_a_key_or_an_address_and_not_both",
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.UniqueConstraint(
                fields=("business", "user"), name="membership_is_one_per_person_and_business"
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(("role__in", ["owner", "admin", "agent", "viewer"])), name="membership_role_is_known"
            ),
        ),
        ForceRowSecurity("accounts_business", column="id"),
        ForceRowSecurity("accounts_membership"),
        ForceRowSecurity("accounts_invitation"),
        ForceRowSecurity("accounts_apikey"),
        ForceRowSecurity("accounts_jwtissuer"),
        ForceRowSecurity("accounts_auditentry", nullable=True),
        UniquePair("accounts_apikey"),
    ]
