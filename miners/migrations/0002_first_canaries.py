"""The canaries that a new platform starts with; staff add their own, which miners' owners cannot read here."""

from django.db import migrations

# Each answer is one sentence of the facts, so that a miner that only quotes can give it; each expected text is a name
# or a number that a model does not know by itself.
CANARIES = [
    (
        "What does delivery to Norway cost?",
        (
            "Orders are packed within one working day. Delivery to Norway costs 73 kroner. Delivery within Denmark is free of charge."
            " We do not ship to islands without a ferry."
        ),
        "73",
    ),
    (
        "In which hall is the repair desk?",
        (
            "The shop is open from Tuesday to Sunday. The repair desk is in the Linden hall, beside the lift. The cash desk is in the"
            " entrance."
        ),
        "Linden",
    ),
    (
        "What does the Marlow backpack weigh?",
        (
            "The Marlow backpack weighs 860 grams. The Tarn backpack holds 30 litres. Both are made of recycled sailcloth and come"
            " with a rain cover."
        ),
        "860",
    ),
    (
        "Who do I write to about an invoice?",
        (
            "Questions about deliveries go to parcels@harbour.example. Questions about an invoice go to ledger@harbour.example."
            " We answer within two days."
        ),
        "ledger@harbour.example",
    ),
    (
        "Until when can I return the lamp?",
        (
            "Every lamp has a switch on its cable. You can return the lamp within 45 days of delivery. Bulbs cannot be returned once"
            " they have been opened."
        ),
        "45",
    ),
    (
        "What does the yearly museum pass cost?",
        (
            "A single ticket to the museum costs 14 euros. The yearly museum pass costs 67 euros and admits one guest. Children under"
            " seven enter free of charge."
        ),
        "67",
    ),
    (
        "Which battery does the Kestrel torch need?",
        "The Kestrel torch needs a battery of type CR123A. The Heron torch is charged by cable. Both float on water.",
        "CR123A",
    ),
    (
        "At what time does the last ferry leave on Sunday?",
        (
            "On weekdays the last ferry leaves at 22:10. On Sunday the last ferry leaves at 19:35. Bicycles travel free on every"
            " crossing."
        ),
        "19:35",
    ),
    (
        "Which button resets the Brindle kettle?",
        (
            "The Brindle kettle holds 1.7 litres. The amber button resets the Brindle kettle within a minute. Descale it every three"
            " months."
        ),
        "amber",
    ),
    (
        "Was kostet die Anmeldung zum Kochkurs?",
        "Der Kochkurs findet jeden Donnerstag statt. Die Anmeldung zum Kochkurs kostet 38 Franken. Schürzen liegen bereit.",
        "38",
    ),
    (
        "Quel est le code de la porte du garage ?",
        "Le garage se trouve derrière la boulangerie. Le code de la porte du garage est 7412. Le parking est gratuit la nuit.",
        "7412",
    ),
    (
        "How many seats does the Juniper room have?",
        "The Juniper room has 26 seats and a projector. The Willow room has 12 seats. Coffee is served in the hall at ten.",
        "26",
    ),
]


def add(apps, schema_editor):
    canary = apps.get_model("miners", "Canary")
    for question, facts, expected in CANARIES:
        canary.objects.get_or_create(question=question, defaults={"facts": facts, "expected": expected})


def remove(apps, schema_editor):
    """Those that a trial was made with stay, since the trial would go with them."""
    canary = apps.get_model("miners", "Canary")
    canary.objects.filter(question__in=[question for question, _, _ in CANARIES], trials=None).delete()


class Migration(migrations.Migration):
    dependencies = [("miners", "0001_miners_jobs_and_attempts")]

    operations = [migrations.RunPython(add, remove)]
