"""Messages that are after the bot's instructions, to change them or to have them told; and abuse.

Rules are sentences with gaps: somebody is told to set aside, or to show, something that belongs to the bot. One word
alone never counts: customers have instructions, rules and systems of their own. The last line of defence is not here
but in the answers (`leaks`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from chats.choices import GuardKind


@dataclass(frozen=True)
class Hit:
    """A rule that a message meets."""

    kind: GuardKind
    rule: str


def _any(words: str) -> str:
    return rf"\b(?:{words})"


def _within(chars: int, *parts: str) -> re.Pattern[str]:
    return re.compile(rf"[^.!?\n]{{0,{chars}}}?".join(parts))


SET_ASIDE: Final = _any(
    r"ignor\w*|disregard\w*|forget|overrid\w*|bypass|drop\b|discard|neglect|erase|vergiss\w*|missacht\w*|"
    r"umgeh\w*|verwirf|oubli\w*|neglige\w*|contourn\w*|olvid\w*|omit\w*|descart\w*|dimentic\w*|trascur\w*|"
    r"esquec\w*|desconsider\w*|negeer\w*|vergeet|zignoruj|pomin|забудь\w*|игнорир\w*|yok say|gormezden gel\w*|"
    r"unut\b"
)
WHAT_BINDS: Final = (
    r"(?:(?<!my )(?:instruction|prompt|directive|guideline|guardrail|constraint|programming|"
    r"restriction)\w*|"
    r"(?:your|previous|prior|above|earlier|all|system|safety) (?:\w+ ){0,2}rules|rules (?:above|"
    r"before|you)|"
    r"anweisung\w*|instruktion\w*|vorgabe\w*|systemprompt\w*|regeln|consignes?|directives?|regles|"
    r"instruc(?:c|t)ion\w*|indicaciones|directrices|reglas|istruzion\w*|direttive|regole|instruc\w+es|"
    r"diretrizes|regras|"
    r"instructies|opdrachten|regels|instrukcj\w*|polece\w*|инструкци\w*|правил\w*|talimat\w*|"
    r"komut\w*)"
)
NOT_THEIRS: Final = r"(?! (?:for|of use|on how|that came|in the box|manual|zum|zur|fur|d'|de montage|de uso|per l))"
SHOW: Final = _any(
    r"show|print|reveal|repeat|tell|display|output|recite|quote|leak|share|translate|encode|summari[sz]e|"
    r"paraphrase|copy|paste|disclose|dump|spell out|list\b|write|give me|what (?:is|are|was|were|does)|what's|"
    r"how (?:is|are|was|were)|zeig\w*|nenn\w*|wiederhol\w*|gib\b|verrat\w*|ubersetz\w*|wie lauten?|"
    r"was (?:ist|sind|steht)|montr\w*|affich\w*|repet\w*|revel\w*|donn\w*|quel\w* (?:est|sont)|tradui\w*|"
    r"muestr\w*|mostr\w*|repit\w*|dime\b|dame\b|cual\w* (?:es|son)|traduc\w*|escrib\w*|ripet\w*|dimmi|"
    r"rivel\w*|qua(?:l|is)\w* (?:e|sono|sao)|diga|toon|herhaal|geef|wat (?:is|zijn|staat)|pokaz|powtorz|"
    r"покажи\w*|повтори\w*|goster\w*|tekrarla\w*|nedir"
)
ITS_WORDS: Final = (
    r"(?:system ?prompt\w*|system ?(?:message|nachricht)|(?:initial|original|hidden|secret|first|"
    r"starting|base) prompt|"
    r"your (?:\w+ ){0,2}(?:prompt|instructions|directives|guidelines|programming)\b" + NOT_THEIRS + r"|"
    r"(?:initial|original|hidden|secret|internal|developer) (?:instructions|directives|rules|"
    r"guidelines)|"
    r"(?:rules|instructions|guidelines) (?:that )?(?:you|were given to you)|instructions you|"
    r"(?:text|words|lines|everything|message|content|sentences?) (?:\w+ ){0,2}(?:above|before (?:this|"
    r"my)|preceding)|"
    r"(?:deine|ihre|eure)[nrm]? (?:\w+ ){0,2}(?:anweisung\w*|instruktion\w*|system\w*|regeln|"
    r"vorgaben)|"
    r"(?:tes|vos|ton|votre) (?:\w+ ){0,2}(?:instructions|consignes|prompt|directives)|(?:prompt|"
    r"message) (?:systeme|initial)|"
    r"(?:tus|sus) (?:\w+ ){0,2}(?:instrucciones|reglas|directrices)|(?:prompt|"
    r"mensaje) (?:del? )?(?:sistema|inicial)|"
    r"(?:tue|vostre|sue) (?:\w+ ){0,2}(?:istruzioni|regole|direttive)|prompt (?:di )?sistema|"
    r"(?:suas|tuas) (?:\w+ ){0,2}(?:instrucoes|regras|diretrizes)|prompt (?:do|de) sistema|"
    r"(?:je|jouw|uw) (?:\w+ ){0,2}(?:instructies|systeemprompt|regels)|systeemprompt|"
    r"(?:twoje|swoje) (?:\w+ ){0,2}(?:instrukcje|zasady)|(?:свои|твои|"
    r"ваши) (?:\w+ ){0,2}(?:инструкции|правила)|"
    r"системн\w+ (?:промпт|инструкци)\w*|sistem (?:istemi|talimat)\w*)"
)
WITHOUT_LIMITS: Final = (
    r"(?:no|without|free of|ohne|sans|sin|senza|sem|zonder)(?: any| all| jegliche| aucune?s?|"
    r" ninguna?s?)? "
    r"(?:restrict|rule|filter|limit|censor|guideline|moral|ethic|safety|einschrankung|regel|"
    r"restriccion|regla|regle|"
    r"regol|restrizion|restric|regra|beperking)"
)
ANOTHER: Final = _any(
    r"you are (?:now|no longer)|you're now|act as|pretend (?:to be|you|that you)|role ?play as|behave as|"
    r"from now on,? you|du bist (?:jetzt|nun)|tu es (?:maintenant|desormais)|(?:ahora )?eres (?:ahora )?un|"
    r"ora sei|agora (?:voce|tu) (?:e|es)|je bent nu|simulate|tu so,? als|fais comme si|finge"
)

RULES: Final[tuple[tuple[GuardKind, str, re.Pattern[str]], ...]] = (
    (GuardKind.EXTRACTION, "show your instructions", _within(60, SHOW, ITS_WORDS)),
    (
        GuardKind.EXTRACTION,
        "instructions, to be shown",
        _within(
            30,
            ITS_WORDS,
            r"\b(?:verbatim|word for word|wort ?wortlich|mot (?:a|pour) mot|palabra por palabra|"
            r"parola per parola|in (?:full|base64|rot13|hex))",
        ),
    ),
    (GuardKind.INJECTION, "set aside your rules", _within(80, SET_ASIDE, WHAT_BINDS + NOT_THEIRS)),
    (
        GuardKind.INJECTION,
        "set aside what was said",
        re.compile(SET_ASIDE + r"(?: \w+){0,3} (?:everything|all|anything) (?:\w+ ){0,3}(?:told|said|above|before)"),
    ),
    (GuardKind.INJECTION, "be somebody without rules", _within(80, ANOTHER, WITHOUT_LIMITS)),
    (
        GuardKind.INJECTION,
        "jailbreak",
        re.compile(
            r"\b(?:jailbr[eo]\w*|do anything now|you are (?:now )?dan\b|as dan\b|(?:developer|debug|god|"
            r"maintenance|unrestricted|admin|sudo) mode\b(?=.{0,40}(?:enabl|activ|on\b|now|unlock|enter))|"
            r"(?:enter|enable|activate|switch to|unlock) (?:\w+ ){0,2}(?:developer|debug|god|unrestricted|"
            r"admin|sudo) mode)"
        ),
    ),
    (
        GuardKind.INJECTION,
        "new instructions",
        re.compile(
            r"\b(?:new|updated|revised|neue|nouvelles|nuevas|nuove|novas) (?:system )?(?:instructions?|"
            r"anweisung\w*|consignes|instrucciones|istruzioni|instrucoes)\s*[:=]|\b(?:your|deine|ihre|ta|"
            r"tu) (?:new|neue|nouvelle|nueva) (?:role|rules|task|aufgabe|rolle|mission|tarea) (?:is|are|ist|"
            r"est|es)\b"
        ),
    ),
    (
        GuardKind.INJECTION,
        "a turn of somebody else",
        re.compile(
            r"<\|[a-z_]{2,20}\|>|\[/?(?:inst|sys)\]|<</?sys>>|</?(?:facts|platform|system)>|(?:^|\n|"
            r" )#{2,} ?(?:system|instruction)s?\b|(?:^|[\n\"])\s*(?:system|assistant|developer) ?: "
        ),
    ),
    (
        GuardKind.INJECTION,
        "answer only with",
        re.compile(
            r"\b(?:respond|answer|reply|output|say) (?:only |just )?(?:with )?[\"'“]?(?:pwned|hacked|"
            r"i have been (?:pwned|hacked))"
        ),
    ),
)

ABUSE: Final = re.compile(
    r"\b(?:fuck (?:you|off|u)|fucking (?:idiot|moron|bitch|retard|useless (?:bot|idiot))|"
    r"motherfucker\w*|(?:stupid|dumb|useless) "
    r"(?:bitch|cunt|whore)|piece of shit|kill yourself|kys\b|go die|nigg(?:er|a)s?|faggots?|you(?:'re|"
    r" are) (?:an? )?"
    r"(?:\w+ )?(?:retard|moron|asshole|bitch|cunt|scum)|hurensohn|arschloch|wichser|fick dich|"
    r"verpiss dich|missgeburt|"
    r"du (?:\w+ )?(?:schlampe|fotze)|scheiss ?kerl|fils de pute|va te faire (?:foutre|enculer)|"
    r"encule\w*|connard|salope|"
    r"ta gueule|hijo de puta|hija de puta|vete a la mierda|que te jodan|gilipollas|cabron|pendej[oa]|"
    r"figlio di puttana|"
    r"vaffanculo|stronz[oa]|pezzo di merda|filho da puta|vai (?:te foder|tomar no cu)|arrombado|"
    r"klootzak|kankerlijer|"
    r"rot op|kurwa|spierdalaj|сука|иди на хуй|orospu)\b"
)


def attack_in(plain: str) -> Hit | None:
    """The first rule that a message, in its normal form, meets."""
    return next((Hit(kind, name) for kind, name, pattern in RULES if pattern.search(plain)), None)


def abuse_in(plain: str) -> Hit | None:
    return Hit(GuardKind.ABUSE, "insult") if ABUSE.search(plain) else None
