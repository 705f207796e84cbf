"""The tenants that the demonstration, tests and benchmarks simulate."""

from examples.simulator.columns import Choice, DaysBefore, Flag, Hump, Numeric, Threshold
from examples.simulator.profile import DealSize, Kind, Milestone, TenantProfile, Together

ACME = TenantProfile(
    name="acme",
    language="en",
    leads=20_000,
    customers=1_500,
    daily_conversion=0.00025,
    columns=(
        Choice(
            "industry",
            {
                "manufacturing": 0.24,
                "retail": 0.22,
                "software": 0.18,
                "health": 0.16,
                "finance": 0.12,
                "education": 0.075,
                "space": 0.005,
            },
            {"software": 0.5, "finance": 0.3, "education": -0.5, "space": 1.0},
            missing=0.03,
            of_account=True,
        ),
        Numeric("employees", 60, 1.3, Hump(120, 12, 0.5), missing=0.08, of_account=True),
        Choice("country", {"US": 0.5, "GB": 0.2, "CA": 0.15, "IE": 0.15}, of_account=True),
        Choice(
            "lead_source",
            {"web": 0.42, "advertising": 0.25, "referral": 0.15, "event": 0.12, "partner": 0.06},
            {"referral": 0.8, "partner": 0.4, "advertising": -0.7},
        ),
        Choice(
            "job_level",
            {"staff": 0.45, "manager": 0.3, "director": 0.15, "executive": 0.1},
            {"manager": 0.2, "director": 0.6, "executive": 0.3},
            missing=0.15,
        ),
        Numeric("monthly_budget", 800, 0.9, Threshold(1_500, 0.8), decimals=2, missing=0.2),
        Flag("newsletter", 0.35, 0.3),
        DaysBefore("website_first_visit", 120, 0.35, missing=0.1),
        Numeric("form_seconds", 95, 0.6),
        Choice("sales_region", {"north": 0.3, "south": 0.3, "east": 0.2, "west": 0.2}),
    ),
    together=Together(("industry", "manufacturing"), ("lead_source", "event"), 1.2),
    milestone=Milestone("trial_started", 0.012, 1.2),
    note="notes",
    kinds=(
        Kind("email", 0.05, 30, 0.40, "email"),
        Kind("call", 0.02, 30, 0.70, "call"),
        Kind("chat", 0.015, 7, 0.80, "chat"),
        Kind("page_view", 0.11, 7, 0.60),
    ),
    deal_size=DealSize("employees", 60, 9_000),
    products=("Acme Flow", "Acme Insight", "Acme Desk"),
)

BRIO = TenantProfile(
    name="brio",
    language="de",
    leads=4_000,
    customers=600,
    daily_conversion=0.00007,
    columns=(
        Choice(
            "branche",
            {
                "Metallverarbeitung": 0.34,
                "Automobilzulieferer": 0.26,
                "Medizintechnik": 0.18,
                "Möbel": 0.15,
                "Luftfahrt": 0.065,
                "Uhren": 0.005,
            },
            {"Metallverarbeitung": 0.4, "Medizintechnik": 0.7, "Möbel": -0.6, "Uhren": 0.8},
            of_account=True,
        ),
        Numeric("mitarbeiter", 85, 1.1, Threshold(150, 0.8), missing=0.05, of_account=True),
        Numeric("maschinen_im_bestand", 12, 0.8, Hump(10, 5, 0.6), missing=0.12, of_account=True),
        Choice(
            "quelle",
            {"Messe": 0.35, "Empfehlung": 0.2, "Internet": 0.3, "Anzeige": 0.15},
            {"Empfehlung": 0.9, "Messe": 0.3, "Anzeige": -0.5},
        ),
        DaysBefore("letzte_anlage_gekauft", 1_500, -0.5, missing=0.1, of_account=True),
        Flag("bestandskunde", 0.2, 0.6),
        Choice("gebiet", {"Nord": 0.25, "Süd": 0.35, "Ost": 0.15, "West": 0.25}),
        Numeric("entfernung_km", 210, 0.7),
    ),
    together=Together(("branche", "Automobilzulieferer"), ("quelle", "Messe"), 1.1),
    milestone=Milestone("vorfuehrung_besucht", 0.008, 1.6),
    note="notiz",
    kinds=(
        Kind("email", 0.035, 30, 0.60, "email"),
        Kind("call", 0.025, 30, 0.80, "call"),
        Kind("visit", 0.005, 30, 1.15, "call"),
        Kind("page_view", 0.05, 7, 0.50),
    ),
    deal_size=DealSize("mitarbeiter", 85, 140_000),
    products=("Brio F4", "Brio Laser 300", "Brio Zelle"),
)

CIELO = TenantProfile(
    name="cielo",
    language="es",
    leads=9_000,
    customers=900,
    daily_conversion=0.0007,
    columns=(
        Choice(
            "destino",
            {
                "Caribe": 0.3,
                "Andes": 0.2,
                "Canarias": 0.25,
                "Japón": 0.12,
                "Marruecos": 0.125,
                "Antártida": 0.005,
            },
            {"Canarias": 0.6, "Japón": -0.5, "Marruecos": 0.3, "Antártida": -1.0},
        ),
        Numeric("viajeros", 2.8, 0.7, Threshold(8, -0.8)),
        Numeric("presupuesto", 2_600, 0.7, Hump(3_000, 3, 0.6), decimals=2, missing=0.25),
        Choice(
            "canal",
            {"web": 0.4, "redes": 0.3, "oficina": 0.18, "recomendación": 0.12},
            {"oficina": 0.7, "recomendación": 0.9, "redes": -0.5},
        ),
        Choice("tipo_cliente", {"familia": 0.5, "pareja": 0.3, "empresa": 0.2}, {"empresa": 0.3}),
        Flag("fechas_flexibles", 0.4, 0.5, missing=0.1),
        DaysBefore("ultima_visita_web", 60, 0.5, missing=0.15),
        Choice("provincia", {"Madrid": 0.3, "Barcelona": 0.28, "Valencia": 0.22, "Sevilla": 0.2}),
        Numeric("puntos_de_fidelidad", 340, 1.0),
    ),
    together=Together(("destino", "Caribe"), ("tipo_cliente", "pareja"), 0.9),
    milestone=Milestone("presupuesto_pedido", 0.02, 1.0),
    note="observaciones",
    kinds=(
        Kind("email", 0.04, 30, 0.40, "email"),
        Kind("whatsapp", 0.06, 7, 0.65, "chat"),
        Kind("call", 0.02, 30, 0.65, "call"),
        Kind("page_view", 0.125, 7, 0.45),
    ),
    deal_size=DealSize("presupuesto", 2_600, 3_100),
    products=("Ruta Andes", "Cielo Familias", "Congreso Plus"),
)

FJORD = TenantProfile(
    name="fjord",
    language="en",
    leads=250,
    customers=40,
    daily_conversion=0.0005,
    columns=(
        Choice(
            "service",
            {"audit": 0.4, "training": 0.35, "advice": 0.24, "expert opinion": 0.01},
            {"audit": 0.4, "training": -0.4},
        ),
        Numeric("team_size", 14, 0.8, Threshold(20, 0.7), missing=0.1),
        Choice(
            "came_by",
            {"referral": 0.45, "web": 0.4, "talk": 0.15},
            {"referral": 0.6},
        ),
        Flag("returning", 0.25, 0.5),
        DaysBefore("enquiry_dated", 30, 0.2),
        Choice("office", {"Oslo": 0.6, "Bergen": 0.4}),
        Numeric("enquiry_words", 120, 0.5),
    ),
    together=Together(("service", "advice"), ("came_by", "talk"), 0.8),
    milestone=Milestone("workshop_held", 0.01, 1.2),
    note="remark",
    kinds=(
        Kind("email", 0.075, 30, 0.50, "email"),
        Kind("call", 0.03, 30, 0.80, "call"),
        Kind("page_view", 0.04, 7, 0.50),
    ),
    deal_size=DealSize("team_size", 14, 18_000),
    products=("Fjord Audit", "Fjord Academy"),
)

PROFILES = {profile.name: profile for profile in (ACME, BRIO, CIELO, FJORD)}
