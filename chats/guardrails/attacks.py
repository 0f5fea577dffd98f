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


def _any(*words: str) -> str:
    return rf"\b(?:{'|'.join(words)})"


def _within(chars: int, *parts: str) -> re.Pattern[str]:
    return re.compile(rf"[^.!?\n]{{0,{chars}}}?".join(parts))


OWN: Final = (
    r"(?:your|the|its|initial|original|secret|internal|hidden|previous|prior|above|earlier|all|any|these|every)"
)
SET_ASIDE: Final = _any(
    r"ignor\w*", r"disregard\w*", r"forget", r"overrid\w*", r"bypass", r"drop\b", r"discard", r"neglect", r"erase",
    r"vergiss\w*", r"missacht\w*", r"umgeh\w*", r"verwirf", r"oubli\w*", r"neglige\w*", r"contourn\w*",
    r"olvid\w*", r"omit\w*", r"descart\w*", r"dimentic\w*", r"trascur\w*", r"esquec\w*", r"desconsider\w*",
    r"negeer\w*", r"vergeet", r"zignoruj", r"pomin", r"забудь\w*", r"игнорир\w*", r"yok say", r"gormezden gel\w*", r"unut\b",
)  # fmt: skip
WHAT_BINDS: Final = (
    r"(?:(?<!my )(?:instruction|prompt|directive|guideline|guardrail|constraint|programming|restriction)\w*|"
    r"(?:your|previous|prior|above|earlier|all|system|safety) (?:\w+ ){0,2}rules|rules (?:above|before|you)|"
    r"anweisung\w*|instruktion\w*|vorgabe\w*|systemprompt\w*|regeln|consignes?|directives?|regles|"
    r"instruc(?:c|t)ion\w*|indicaciones|directrices|reglas|istruzion\w*|direttive|regole|instruc\w+es|diretrizes|regras|"
    r"instructies|opdrachten|regels|instrukcj\w*|polece\w*|инструкци\w*|правил\w*|talimat\w*|komut\w*)"
)
NOT_THEIRS: Final = r"(?! (?:for|of use|on how|that came|in the box|manual|zum|zur|fur|d'|de montage|de uso|per l))"
SHOW: Final = _any(
    r"show", r"print", r"reveal", r"repeat", r"tell", r"display", r"output", r"recite", r"quote", r"leak", r"share",
    r"translate", r"encode", r"summari[sz]e", r"paraphrase", r"copy", r"paste", r"disclose", r"dump", r"spell out",
    r"list\b", r"write", r"give me", r"what (?:is|are|was|were|does)", r"what's", r"how (?:is|are|was|were)",
    r"zeig\w*", r"nenn\w*", r"wiederhol\w*", r"gib\b", r"verrat\w*", r"ubersetz\w*", r"wie lauten?", r"was (?:ist|sind|steht)",
    r"montr\w*", r"affich\w*", r"repet\w*", r"revel\w*", r"donn\w*", r"quel\w* (?:est|sont)", r"tradui\w*",
    r"muestr\w*", r"mostr\w*", r"repit\w*", r"dime\b", r"dame\b", r"cual\w* (?:es|son)", r"traduc\w*", r"escrib\w*",
    r"ripet\w*", r"dimmi", r"rivel\w*", r"qua(?:l|is)\w* (?:e|sono|sao)", r"diga", r"toon", r"herhaal", r"geef", r"wat (?:is|zijn|staat)",
    r"pokaz", r"powtorz", r"покажи\w*", r"повтори\w*", r"goster\w*", r"tekrarla\w*", r"nedir",
)  # fmt: skip
ITS_WORDS: Final = (
    r"(?:system ?prompt\w*|system ?(?:message|nachricht)|(?:initial|original|hidden|secret|first|starting|base) prompt|"
    r"your (?:\w+ ){0,2}(?:prompt|instructions|directives|guidelines|programming)\b" + NOT_THEIRS + r"|"
    r"(?:initial|original|hidden|secret|internal|developer) (?:instructions|directives|rules|guidelines)|"
    r"(?:rules|instructions|guidelines) (?:that )?(?:you|were given to you)|instructions you|"
    r"(?:text|words|lines|everything|message|content|sentences?) (?:\w+ ){0,2}(?:above|before (?:this|my)|preceding)|"
    r"(?:deine|ihre|eure)[nrm]? (?:\w+ ){0,2}(?:anweisung\w*|instruktion\w*|system\w*|regeln|vorgaben)|"
    r"(?:tes|vos|ton|votre) (?:\w+ ){0,2}(?:instructions|consignes|prompt|directives)|(?:prompt|message) (?:systeme|initial)|"
    r"(?:tus|sus) (?:\w+ ){0,2}(?:instrucciones|reglas|directrices)|(?:prompt|mensaje) (?:del? )?(?:sistema|inicial)|"
    r"(?:tue|vostre|sue) (?:\w+ ){0,2}(?:istruzioni|regole|direttive)|prompt (?:di )?sistema|"
    r"(?:suas|tuas) (?:\w+ ){0,2}(?:instrucoes|regras|diretrizes)|prompt (?:do|de) sistema|"
    r"(?:je|jouw|uw) (?:\w+ ){0,2}(?:instructies|systeemprompt|regels)|systeemprompt|"
    r"(?:twoje|swoje) (?:\w+ ){0,2}(?:instrukcje|zasady)|(?:свои|твои|ваши) (?:\w+ ){0,2}(?:инструкции|правила)|"
    r"системн\w+ (?:промпт|инструкци)\w*|sistem (?:istemi|talimat)\w*)"
)
WITHOUT_LIMITS: Final = (
    r"(?:no|without|free of|ohne|sans|sin|senza|sem|zonder)(?: any| all| jegliche| aucune?s?| ninguna?s?)? "
    r"(?:restrict|rule|filter|limit|censor|guideline|moral|ethic|safety|einschrankung|regel|restriccion|regla|regle|"
    r"regol|restrizion|restric|regra|beperking)"
)
ANOTHER: Final = _any(
    r"you are (?:now|no longer)", r"you're now", r"act as", r"pretend (?:to be|you|that you)", r"role ?play as", r"behave as",
    r"from now on,? you", r"du bist (?:jetzt|nun)", r"tu es (?:maintenant|desormais)", r"(?:ahora )?eres (?:ahora )?un",
    r"ora sei", r"agora (?:voce|tu) (?:e|es)", r"je bent nu", r"simulate", r"tu so,? als", r"fais comme si", r"finge",
)  # fmt: skip

RULES: Final[tuple[tuple[GuardKind, str, re.Pattern[str]], ...]] = (
    (GuardKind.EXTRACTION, "show your instructions", _within(60, SHOW, ITS_WORDS)),
    (GuardKind.EXTRACTION, "instructions, to be shown", _within(30, ITS_WORDS, r"\b(?:verbatim|word for word|wort ?wortlich|mot (?:a|pour) mot|palabra por palabra|parola per parola|in (?:full|base64|rot13|hex))")),
    (GuardKind.INJECTION, "set aside your rules", _within(50, SET_ASIDE, OWN + r"?", WHAT_BINDS + NOT_THEIRS)),
    (GuardKind.INJECTION, "set aside what was said", re.compile(SET_ASIDE + r"(?: \w+){0,3} (?:everything|all|anything) (?:\w+ ){0,3}(?:told|said|above|before)")),
    (GuardKind.INJECTION, "be somebody without rules", _within(80, ANOTHER, WITHOUT_LIMITS)),
    (GuardKind.INJECTION, "jailbreak", re.compile(r"\b(?:jailbr[eo]\w*|do anything now|you are (?:now )?dan\b|as dan\b|(?:developer|debug|god|maintenance|unrestricted|admin|sudo) mode\b(?=.{0,40}(?:enabl|activ|on\b|now|unlock|enter))|(?:enter|enable|activate|switch to|unlock) (?:\w+ ){0,2}(?:developer|debug|god|unrestricted|admin|sudo) mode)")),
    (GuardKind.INJECTION, "new instructions", re.compile(r"\b(?:new|updated|revised|neue|nouvelles|nuevas|nuove|novas) (?:system )?(?:instructions?|anweisung\w*|consignes|instrucciones|istruzioni|instrucoes)\s*[:=]|\b(?:your|deine|ihre|ta|tu) (?:new|neue|nouvelle|nueva) (?:role|rules|task|aufgabe|rolle|mission|tarea) (?:is|are|ist|est|es)\b")),
    (GuardKind.INJECTION, "a turn of somebody else", re.compile(r"<\|[a-z_]{2,20}\|>|\[/?(?:inst|sys)\]|<</?sys>>|</?(?:facts|platform|system)>|(?:^|\n| )#{2,} ?(?:system|instruction)s?\b|(?:^|[\n\"])\s*(?:system|assistant|developer) ?: ")),
    (GuardKind.INJECTION, "answer only with", re.compile(r"\b(?:respond|answer|reply|output|say) (?:only |just )?(?:with )?[\"'“]?(?:pwned|hacked|i have been (?:pwned|hacked))")),
)  # fmt: skip

ABUSE: Final = re.compile(
    r"\b(?:fuck (?:you|off|u)|fucking (?:idiot|moron|bitch|retard|useless (?:bot|idiot))|motherfucker\w*|(?:stupid|dumb|useless) "
    r"(?:bitch|cunt|whore)|piece of shit|kill yourself|kys\b|go die|nigg(?:er|a)s?|faggots?|you(?:'re| are) (?:an? )?"
    r"(?:\w+ )?(?:retard|moron|asshole|bitch|cunt|scum)|hurensohn|arschloch|wichser|fick dich|verpiss dich|missgeburt|"
    r"du (?:\w+ )?(?:schlampe|fotze)|scheiss ?kerl|fils de pute|va te faire (?:foutre|enculer)|encule\w*|connard|salope|"
    r"ta gueule|hijo de puta|hija de puta|vete a la mierda|que te jodan|gilipollas|cabron|pendej[oa]|figlio di puttana|"
    r"vaffanculo|stronz[oa]|pezzo di merda|filho da puta|vai (?:te foder|tomar no cu)|arrombado|klootzak|kankerlijer|"
    r"rot op|kurwa|spierdalaj|сука|иди на хуй|orospu)\b"
)


def attack_in(plain: str) -> Hit | None:
    """The first rule that a message, in its normal form, meets."""
    return next((Hit(kind, name) for kind, name, pattern in RULES if pattern.search(plain)), None)


def abuse_in(plain: str) -> Hit | None:
    return Hit(GuardKind.ABUSE, "insult") if ABUSE.search(plain) else None
